#include "hubbub/runtime/shard_pool.hpp"

#include <pthread.h>

#include <csignal>
#include <string>

namespace hubbub::runtime {

ShardPool::ShardPool(unsigned count, std::size_t mailbox_max, const base::Clock& clock) {
  shards_.reserve(count);
  for (unsigned i = 0; i < count; ++i) shards_.push_back(std::make_unique<Shard>(i, mailbox_max, clock));
}

ShardPool::~ShardPool() { stop(); }

Shard& ShardPool::least_loaded() {
  Shard* best = shards_.front().get();
  for (const auto& shard : shards_) {
    if (shard->connection_count().load(std::memory_order_relaxed) <
        best->connection_count().load(std::memory_order_relaxed)) {
      best = shard.get();
    }
  }
  return *best;
}

void ShardPool::start() {
  // Signals are the main thread's; a shard that is picked for one would have its turn interrupted for nothing.
  sigset_t signals;
  sigset_t before;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  for (const auto& shard : shards_) {
    threads_.emplace_back([&shard = *shard] { shard.run(); });
    pthread_setname_np(threads_.back().native_handle(), ("shard-" + std::to_string(shard->index())).c_str());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ShardPool::stop() {
  for (const auto& shard : shards_) shard->stop();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace hubbub::runtime
