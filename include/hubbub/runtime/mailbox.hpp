#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "hubbub/base/function.hpp"

namespace hubbub::runtime {

/// What one shard asks another to run. Captures at most 112 bytes; larger things travel by pointer.
using Task = base::InlineFunction<void(), 112>;

/// The way into a shard from other threads: a vector under a mutex, swapped whole, with one wake-up a batch.
class Mailbox {
 public:
  /// `max_tasks` bounds what try_post accepts.
  explicit Mailbox(std::size_t max_tasks);
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// False when full: the task was not taken and the caller's overflow policy applies. [any thread]
  bool try_post(Task&& task);
  /// For what must not be lost and whose number is bounded elsewhere (a leave for each join, a reply for each command);
  /// never refused. [any thread]
  void post(Task&& task);

  /// Readable when the owner must wake up. [shard]
  int wake_fd() const { return wake_fd_; }
  /// Says that the owner is about to block; false when there is mail, so it must not. [shard]
  bool try_sleep();
  void awake();
  /// Takes all mail. [shard]
  void swap(std::vector<Task>& into);

 private:
  void wake_if_asleep();

  const std::size_t max_tasks_;
  int wake_fd_;
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::vector<Task> tasks_;
};

}  // namespace hubbub::runtime
