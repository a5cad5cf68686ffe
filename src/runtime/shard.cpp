#include "hubbub/runtime/shard.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <cassert>
#include <chrono>
#include <limits>
#include <utility>

namespace hubbub::runtime {

/// Makes the mailbox's wake-up descriptor end an epoll_wait; the turn that follows drains the mail anyway.
class Shard::WakeTarget final : public PollTarget {
 public:
  explicit WakeTarget(int fd) : fd_(fd) {}
  void on_ready(std::uint32_t) override {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(fd_, &count, sizeof count);
  }

 private:
  int fd_;
};

Shard::Shard(unsigned index, std::size_t mailbox_max, const base::Clock& clock)
    : index_(index),
      clock_(clock),
      mailbox_(mailbox_max),
      wake_target_(std::make_unique<WakeTarget>(mailbox_.wake_fd())),
      poller_descriptor_(io_, ::dup(poller_.fd())),
      wheel_timer_(io_),
      now_ms_(clock.steady_ms()),
      unix_ms_(clock.unix_ms()),
      wheel_(now_ms_),
      read_buffer_(std::make_unique_for_overwrite<char[]>(kReadBufferBytes)) {
  poller_.add(mailbox_.wake_fd(), EPOLLIN, *wake_target_);
}

Shard::~Shard() { graveyard_.clear(); }

void Shard::stop() {
  stopping_.store(true);
  post([] {});
}

bool Shard::try_post(Task&& task) {
  if (on_this_thread()) {
    local_tasks_.push_back(std::move(task));
    return true;
  }
  return mailbox_.try_post(std::move(task));
}

void Shard::post(Task&& task) {
  if (on_this_thread()) {
    local_tasks_.push_back(std::move(task));
  } else {
    mailbox_.post(std::move(task));
  }
}

void Shard::refresh_clock() {
  now_ms_ = clock_.steady_ms();
  unix_ms_ = clock_.unix_ms();
}

void Shard::run() {
  thread_.store(std::this_thread::get_id());
  const auto work = boost::asio::make_work_guard(io_);
  while (!stopping_.load(std::memory_order_relaxed)) {
    wait_for_poller();
    arm_wheel_timer();
    const bool may_block = !more_ready_ && local_tasks_.empty() && dirty_.empty();
    if (may_block && mailbox_.try_sleep()) {
      io_.run_one();
      mailbox_.awake();
    }
    io_.poll();
    turn();
  }
  thread_.store(std::thread::id{});
}

void Shard::turn_for_test() {
  const auto before = thread_.exchange(std::this_thread::get_id());
  io_.poll();
  turn();
  thread_.store(before);
}

// HOT PATH: the order is the performance story. Input first, then mail (which is where room events arrive), then
// timers, and only then one send a channel for all that came together.
void Shard::turn() {
  refresh_clock();
  more_ready_ = poller_.poll();
  run_tasks();
  wheel_.advance(now_ms_);
  if (before_flush_) before_flush_();
  flush_dirty();
  graveyard_.clear();
  turns_.fetch_add(1, std::memory_order_relaxed);
}

void Shard::run_tasks() {
  mailbox_.swap(tasks_);
  for (Task& task : tasks_) task();
  tasks_.clear();
  if (tasks_.capacity() > 8192) tasks_.shrink_to_fit();
  while (!local_tasks_.empty()) {
    Task task = std::move(local_tasks_.front());
    local_tasks_.pop_front();
    task();
  }
}

void Shard::flush_dirty() {
  // A flush may make its channel dirty again (a refill): that is next turn's, or a slow reader could hold the turn.
  flushing_.swap(dirty_);
  for (std::size_t i = 0; i < flushing_.size(); ++i) {
    if (flushing_[i] != nullptr) flushing_[i]->flush();
  }
  flushing_.clear();
}

void Shard::forget_dirty(const Flushable& target) {
  std::erase(dirty_, &target);
  std::replace(flushing_.begin(), flushing_.end(), const_cast<Flushable*>(&target), static_cast<Flushable*>(nullptr));
}

void Shard::wait_for_poller() {
  if (poller_armed_) return;
  poller_armed_ = true;
  poller_descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                [this](const boost::system::error_code&) { poller_armed_ = false; });
}

void Shard::arm_wheel_timer() {
  const auto wake_ms = wheel_.next_wake_ms();
  const std::int64_t wanted = wake_ms.value_or(std::numeric_limits<std::int64_t>::max());
  if (wanted == armed_wake_ms_) return;
  // A timer that fires early costs one empty turn; re-arming at every change would cost a heap operation a turn.
  if (armed_wake_ms_ != 0 && wanted > armed_wake_ms_ && now_ms_ < armed_wake_ms_) return;
  armed_wake_ms_ = wanted;
  if (!wake_ms) {
    wheel_timer_.cancel();
    return;
  }
  wheel_timer_.expires_after(std::chrono::milliseconds(std::max<std::int64_t>(0, wanted - now_ms_)));
  wheel_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) armed_wake_ms_ = 0;
  });
}

}  // namespace hubbub::runtime
