#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace hubbub::runtime {

/// Something that a turn may end with. [shard]
class Flushable {
 public:
  virtual ~Flushable() = default;
  /// Told once at the end of a turn in which it was marked dirty.
  virtual void flush() {}
};

/// Something with a descriptor that a Poller watches.
class PollTarget : public Flushable {
 public:
  /// `events` as epoll gave them (EPOLLIN, EPOLLOUT, EPOLLHUP, ...). [shard]
  virtual void on_ready(std::uint32_t events) = 0;
};

/// An epoll set of a shard's sockets, itself one descriptor in the shard's io_context. Asio keeps about 350 bytes a
/// socket and an operation for each wait; here a watched socket costs nothing in user space (docs/decisions/0002).
/// Level-triggered: a target that reads once a turn is told again. [shard]
class Poller {
 public:
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  int fd() const { return fd_; }
  /// errno on failure, else 0.
  int add(int fd, std::uint32_t events, PollTarget& target);
  void modify(int fd, std::uint32_t events, PollTarget& target);
  void remove(int fd);
  /// Dispatches what is ready, without waiting. True when there may be more than one call's worth.
  bool poll();
  /// Forgets events of `target` that this poll() still has in hand: it is about to be destroyed.
  void forget(const PollTarget& target);

 private:
  int fd_;
  int ready_ = 0;
  int next_ = 0;
  std::array<epoll_event, 256> events_;
};

}  // namespace hubbub::runtime
