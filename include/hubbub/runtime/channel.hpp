#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "hubbub/runtime/out_queue.hpp"
#include "hubbub/runtime/poller.hpp"
#include "hubbub/runtime/shard.hpp"
#include "hubbub/runtime/tcp_progress.hpp"

namespace hubbub::runtime {

/// A non-blocking socket with its out queue: what a transport is built on. Reading happens when the socket is readable,
/// into the shard's buffer; writing when the shard flushes. Everything [shard].
class Channel : public PollTarget, private base::Timer {
 public:
  /// Takes `fd` over. watch() must follow.
  Channel(Shard& shard, int fd);
  /// Takes over the descriptor of `from` and what it has yet to send, and watches it. `from` is retired.
  explicit Channel(Channel& from);
  ~Channel() override;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  Shard& shard() const { return shard_; }
  bool is_open() const { return fd_ >= 0; }

  /// Queues a batch that others read too, from `begin` to what it holds at the end of the turn.
  void send_batch(const BatchRef& batch, std::uint32_t begin) {
    queue_.push(batch, begin);
    mark_dirty();
  }
  void close_open_slice(const Batch* batch) { queue_.close_open_slice(batch); }
  /// Queues a copy of `bytes`.
  void send_bytes(std::string_view bytes) {
    queue_.append(bytes, shard_.batches());
    mark_dirty();
  }
  std::size_t queued_bytes() const { return queue_.bytes(); }
  bool is_blocked() const { return blocked_; }

  /// Called by the shard at the end of a turn: sends what is queued as far as the kernel takes it. HOT PATH
  void flush() final;

 protected:
  /// Starts watching; false when the kernel refuses.
  bool watch();
  /// Stops or goes on being told of incoming bytes (back-pressure on a peer that sends but does not read).
  void set_reading(bool on);
  /// Reads once. >0 bytes; 0 the peer closed its side; <0: -errno (-EAGAIN: nothing there).
  std::ptrdiff_t read_some(std::span<char> into);
  std::uint64_t acknowledged_while_sending() const { return runtime::acknowledged_while_sending(fd_); }
  void drop_unsent() { queue_.drop_unsent(); }
  /// As setsockopt; errors are ignored.
  void set_option(int level, int name, unsigned value);
  /// Sends what is queued, says FIN and waits for the peer's, throwing away what it still sends: closing at once with
  /// unread input would make the kernel send RST, which can destroy a close frame or error answer on its way. At most
  /// `timeout_ms`, then close_now().
  void close_gracefully(std::int64_t timeout_ms);
  /// Gives the descriptor away, unwatched, for another shard to go on with; nothing may be queued. The object is
  /// retired as by close_now(), without on_closed().
  int release();
  /// Closes now and destroys the object at the end of the turn. on_closed() has been called when it returns.
  void close_now();
  bool is_closing() const { return closing_; }
  bool is_closed() const { return closed_; }

  /// The connection's one timer: whatever it waits for now. While closing it belongs to Channel.
  void arm_timer(std::int64_t after_ms) { shard_.wheel().arm(*this, shard_.now_ms() + after_ms); }
  void cancel_timer() { shard_.wheel().cancel(*this); }
  virtual void on_timer() = 0;

  virtual void on_readable() = 0;
  /// A flush begins that will send: the last chance to queue something behind all else of this turn.
  virtual void on_flush() {}
  /// The kernel took less than there was: `queued_bytes()` remain. Told at each flush that leaves something.
  virtual void on_blocked() {}
  /// A blocked channel made progress (not yet empty).
  virtual void on_progress() {}
  /// A channel that was blocked, or does not read, has sent everything.
  virtual void on_drained() {}
  /// Told once, before the object goes.
  virtual void on_closed() = 0;

 private:
  void on_ready(std::uint32_t events) final;
  void mark_dirty() {
    if (!dirty_) {
      dirty_ = true;
      shard_.mark_dirty(*this);
    }
  }
  void update_interest();
  void send_queued();
  void finish_closing();
  void destroy_after_turn();

  friend class Shard;
  Shard& shard_;
  OutQueue queue_;
  int fd_;
  bool dirty_ = false;
  bool blocked_ = false;
  bool reading_ = true;
  bool closing_ = false;
  bool closed_ = false;
  bool watched_ = false;
  bool lingering_ = false;
};

}  // namespace hubbub::runtime
