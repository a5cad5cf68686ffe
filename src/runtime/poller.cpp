#include "hubbub/runtime/poller.hpp"

#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace hubbub::runtime {

Poller::Poller() : fd_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

Poller::~Poller() { ::close(fd_); }

int Poller::add(int fd, std::uint32_t events, PollTarget& target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &target;
  return ::epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void Poller::modify(int fd, std::uint32_t events, PollTarget& target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &target;
  ::epoll_ctl(fd_, EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(int fd) {
  epoll_event event{};
  ::epoll_ctl(fd_, EPOLL_CTL_DEL, fd, &event);
}

bool Poller::poll() {
  ready_ = ::epoll_wait(fd_, events_.data(), static_cast<int>(events_.size()), 0);
  if (ready_ < 0) ready_ = 0;
  for (next_ = 0; next_ < ready_;) {
    const epoll_event& event = events_[static_cast<std::size_t>(next_++)];
    if (event.data.ptr != nullptr) static_cast<PollTarget*>(event.data.ptr)->on_ready(event.events);
  }
  const bool full = ready_ == static_cast<int>(events_.size());
  ready_ = next_ = 0;
  return full;
}

void Poller::forget(const PollTarget& target) {
  for (int i = next_; i < ready_; ++i) {
    auto& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &target) event.data.ptr = nullptr;
  }
}

}  // namespace hubbub::runtime
