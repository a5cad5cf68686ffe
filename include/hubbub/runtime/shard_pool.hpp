#pragma once

#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "hubbub/runtime/shard.hpp"

namespace hubbub::runtime {

/// All shards of the process and their threads.
class ShardPool {
 public:
  ShardPool(unsigned count, std::size_t mailbox_max, const base::Clock& clock);
  ~ShardPool();

  unsigned size() const { return static_cast<unsigned>(shards_.size()); }
  Shard& operator[](unsigned index) { return *shards_[index]; }
  /// The home shard of what hashes to `hash`. [any thread]
  unsigned home_of(std::uint64_t hash) const {
    // The low half: flat tables place by the high bits, and a shard's tables hold only keys of one shard. By the same
    // bits they would crowd into a fraction of the slots (measured: a lookup 20 times slower).
    return static_cast<unsigned>((hash & 0xffffffff) * shards_.size() >> 32);
  }
  /// The shard with the fewest connections. [any thread]
  Shard& least_loaded();

  void start();
  /// Stops every shard after its present turn and joins the threads.
  void stop();

 private:
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::thread> threads_;
};

}  // namespace hubbub::runtime
