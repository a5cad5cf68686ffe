#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/base/timing_wheel.hpp"
#include "hubbub/runtime/batch.hpp"
#include "hubbub/runtime/mailbox.hpp"
#include "hubbub/runtime/poller.hpp"

namespace hubbub::runtime {

/// One thread with one io_context. A turn: run what is ready (bounded), drain the mailbox, fire timers, then flush
/// every dirty channel once. A session and all that it owns live and die on one shard.
class Shard {
 public:
  static constexpr std::size_t kReadBufferBytes = 256 * 1024;

  Shard(unsigned index, std::size_t mailbox_max, const base::Clock& clock);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  unsigned index() const { return index_; }

  /// Runs turns until stop(). The calling thread becomes the shard's.
  void run();
  /// [any thread]
  void stop();
  bool on_this_thread() const { return thread_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

  /// Runs `task` on this shard in its next mailbox drain; tasks of one thread keep their order. False when the mailbox
  /// is full (never so from the shard's own thread). [any thread]
  bool try_post(Task&& task);
  /// As try_post, for what must not be lost; see Mailbox::post. [any thread]
  void post(Task&& task);

  boost::asio::io_context& io() { return io_; }
  Poller& poller() { return poller_; }
  base::TimingWheel& wheel() { return wheel_; }
  BatchPool& batches() { return batches_; }
  const base::Clock& clock() const { return clock_; }
  /// The clock as of this turn's start. [shard]
  std::int64_t now_ms() const { return now_ms_; }
  std::int64_t unix_ms() const { return unix_ms_; }
  /// The one buffer that every channel of the shard reads into. [shard]
  std::span<char> read_buffer() { return {read_buffer_.get(), kReadBufferBytes}; }

  /// Has `target` flushed at the end of this turn. [shard]
  void mark_dirty(Flushable& target) { dirty_.push_back(&target); }
  void forget_dirty(const Flushable& target);
  /// Destroys `object` at the end of this turn, because someone further up the stack may still use it. [shard]
  void defer_destroy(std::unique_ptr<Flushable> object) { graveyard_.push_back(std::move(object)); }
  /// Called each turn between the timers and the flush. [shard]
  void set_before_flush(base::InlineFunction<void()> hook) { before_flush_ = std::move(hook); }

  /// How many connections it holds; read by the listener to choose the least loaded. [any thread]
  std::atomic<std::size_t>& connection_count() { return connection_count_; }
  std::uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }

  /// Runs one turn without blocking, on the calling thread (tests).
  void turn_for_test();

 private:
  void turn();
  void run_tasks();
  void flush_dirty();
  void wait_for_poller();
  void arm_wheel_timer();
  void refresh_clock();

  const unsigned index_;
  const base::Clock& clock_;
  boost::asio::io_context io_{1};
  Poller poller_;
  Mailbox mailbox_;
  class WakeTarget;
  std::unique_ptr<WakeTarget> wake_target_;
  boost::asio::posix::stream_descriptor poller_descriptor_;
  boost::asio::steady_timer wheel_timer_;
  BatchPool batches_;
  std::int64_t now_ms_ = 0;
  std::int64_t unix_ms_ = 0;
  base::TimingWheel wheel_;
  std::int64_t armed_wake_ms_ = 0;
  bool poller_armed_ = false;
  bool more_ready_ = false;
  bool blocked_ = false;
  std::unique_ptr<char[]> read_buffer_;
  std::vector<Task> tasks_;       // swapped with the mailbox
  std::deque<Task> local_tasks_;  // posted by this shard to itself
  std::vector<Flushable*> dirty_;
  std::vector<Flushable*> flushing_;
  std::vector<std::unique_ptr<Flushable>> graveyard_;
  base::InlineFunction<void()> before_flush_;
  std::atomic<std::thread::id> thread_{};
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> connection_count_{0};
  std::atomic<std::uint64_t> turns_{0};
};

}  // namespace hubbub::runtime
