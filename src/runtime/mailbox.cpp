#include "hubbub/runtime/mailbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

namespace hubbub::runtime {

Mailbox::Mailbox(std::size_t max_tasks) : max_tasks_(max_tasks), wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (wake_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

Mailbox::~Mailbox() { ::close(wake_fd_); }

bool Mailbox::try_post(Task&& task) {
  {
    const std::lock_guard lock(mutex_);
    if (tasks_.size() >= max_tasks_) return false;
    tasks_.push_back(std::move(task));
  }
  wake_if_asleep();
  return true;
}

void Mailbox::post(Task&& task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_if_asleep();
}

// The owner sets asleep_ and then looks at the tasks under the mutex; a poster adds under the mutex and then looks at
// asleep_. Whichever comes second sees the other, so no wake-up is lost and a busy owner costs no system call.
void Mailbox::wake_if_asleep() {
  if (asleep_.load() && asleep_.exchange(false)) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(wake_fd_, &one, sizeof one);  // can only fail when it is readable already
  }
}

bool Mailbox::try_sleep() {
  asleep_.store(true);
  const std::lock_guard lock(mutex_);
  if (tasks_.empty()) return true;
  asleep_.store(false);
  return false;
}

void Mailbox::awake() { asleep_.store(false); }

void Mailbox::swap(std::vector<Task>& into) {
  const std::lock_guard lock(mutex_);
  tasks_.swap(into);
}

}  // namespace hubbub::runtime
