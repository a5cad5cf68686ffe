#include "hubbub/runtime/channel.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace hubbub::runtime {

namespace {
constexpr std::size_t kMaxIov = 256;
constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP;
}  // namespace

Channel::Channel(Shard& shard, int fd) : shard_(shard), fd_(fd) {
  on_expire = [](base::Timer& timer) {
    Channel& channel = static_cast<Channel&>(timer);
    if (channel.closing_) {
      channel.close_now();
    } else {
      channel.on_timer();
    }
  };
}

Channel::Channel(Channel& from) : Channel(from.shard_, std::exchange(from.fd_, -1)) {
  queue_ = std::move(from.queue_);
  blocked_ = from.blocked_;
  watched_ = true;
  shard_.poller().forget(from);
  update_interest();
  if (!queue_.empty()) mark_dirty();
  from.closed_ = from.closing_ = true;
  from.cancel_timer();
  from.destroy_after_turn();
}

void Channel::destroy_after_turn() { shard_.defer_destroy(std::unique_ptr<Flushable>(this)); }

Channel::~Channel() {
  cancel_timer();
  if (dirty_) shard_.forget_dirty(*this);
  if (fd_ >= 0) {
    if (watched_) shard_.poller().remove(fd_);
    ::close(fd_);
  }
  shard_.poller().forget(*this);
}

bool Channel::watch() {
  watched_ = true;
  return shard_.poller().add(fd_, kReadEvents, *this) == 0;
}

void Channel::update_interest() {
  if (!watched_ || fd_ < 0) return;
  std::uint32_t events = reading_ ? kReadEvents : 0;
  if (blocked_) events |= EPOLLOUT;
  shard_.poller().modify(fd_, events, *this);
}

void Channel::set_reading(bool on) {
  if (reading_ == on) return;
  reading_ = on;
  update_interest();
}

void Channel::set_option(int level, int name, unsigned value) { ::setsockopt(fd_, level, name, &value, sizeof value); }

std::ptrdiff_t Channel::read_some(std::span<char> into) {
  const ssize_t n = ::recv(fd_, into.data(), into.size(), MSG_DONTWAIT);
  return n >= 0 ? n : -errno;
}

void Channel::on_ready(std::uint32_t events) {
  if (closed_) return;
  if ((events & EPOLLOUT) != 0 && blocked_) send_queued();
  if (closed_) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) return;
  if (lingering_) {
    const auto n = read_some(shard_.read_buffer());
    if (n == 0 || (n < 0 && n != -EAGAIN)) close_now();
  } else if (reading_) {
    on_readable();
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    close_now();
  }
}

void Channel::flush() {
  if (fd_ >= 0 && !blocked_ && !queue_.empty()) on_flush();
  dirty_ = false;
  if (fd_ < 0 || queue_.empty()) return;
  if (blocked_) {
    queue_.settle_waiting(shard_.batches());
    on_blocked();  // only EPOLLOUT says that trying again makes sense; before, it would burn a system call a turn
  } else {
    queue_.settle();
    send_queued();
  }
}

void Channel::send_queued() {
  bool progress = false;
  bool full = false;
  while (!queue_.empty()) {
    iovec iov[kMaxIov];
    const std::size_t count = queue_.gather(iov, kMaxIov);
    if (count == 0) {
      queue_.clear();
      break;
    }
    std::size_t want = 0;
    ssize_t n;
    if (count == 1) {
      want = iov[0].iov_len;
      n = ::send(fd_, iov[0].iov_base, want, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      for (std::size_t i = 0; i < count; ++i) want += iov[i].iov_len;
      msghdr message{};
      message.msg_iov = iov;
      message.msg_iovlen = count;
      n = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        full = true;
        break;
      }
      close_now();
      return;
    }
    progress = progress || n > 0;
    queue_.consume(static_cast<std::size_t>(n));
    if (static_cast<std::size_t>(n) < want) {
      full = true;
      break;
    }
  }
  if (full) {
    const bool was_blocked = std::exchange(blocked_, true);
    if (!was_blocked) {
      update_interest();
      queue_.unpin(shard_.batches());
    }
    if (progress && was_blocked) on_progress();
    if (!closed_) on_blocked();
    return;
  }
  const bool was_blocked = std::exchange(blocked_, false);
  if (was_blocked) update_interest();
  // Who stopped reading because too much was queued learns here that it is gone, also if the socket never blocked.
  if (!closing_ && (was_blocked || !reading_)) on_drained();
  if (closing_ && !closed_) finish_closing();
}

void Channel::finish_closing() {
  if (lingering_) return;
  lingering_ = true;
  ::shutdown(fd_, SHUT_WR);
  set_reading(true);
}

void Channel::close_gracefully(std::int64_t timeout_ms) {
  if (closed_ || closing_) return;
  closing_ = true;
  set_reading(false);
  arm_timer(timeout_ms);
  if (queue_.empty()) {
    finish_closing();
  } else {
    mark_dirty();
  }
}

int Channel::release() {
  closed_ = closing_ = true;
  dirty_ = false;
  shard_.forget_dirty(*this);
  cancel_timer();
  if (watched_) shard_.poller().remove(fd_);
  shard_.poller().forget(*this);
  destroy_after_turn();
  return std::exchange(fd_, -1);
}

void Channel::close_now() {
  if (std::exchange(closed_, true)) return;
  closing_ = true;
  cancel_timer();
  on_closed();
  queue_.clear();
  if (fd_ >= 0) {
    if (watched_) shard_.poller().remove(fd_);
    shard_.poller().forget(*this);
    ::close(std::exchange(fd_, -1));
  }
  destroy_after_turn();
}

}  // namespace hubbub::runtime
