#include "hubbub/runtime/mailbox.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>
#include <vector>

namespace hubbub::runtime {
namespace {

bool is_readable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(Mailbox, GivesTasksInTheOrderOfTheirPoster) {
  Mailbox mailbox(10);
  std::vector<int> ran;
  for (int n = 0; n < 3; ++n) EXPECT_TRUE(mailbox.try_post([&ran, n] { ran.push_back(n); }));
  std::vector<Task> tasks;
  mailbox.swap(tasks);
  for (Task& task : tasks) task();
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2}));
  tasks.clear();
  mailbox.swap(tasks);
  EXPECT_TRUE(tasks.empty());
}

TEST(Mailbox, RefusesPastItsBoundButNotWhatMustNotBeLost) {
  Mailbox mailbox(2);
  EXPECT_TRUE(mailbox.try_post([] {}));
  EXPECT_TRUE(mailbox.try_post([] {}));
  EXPECT_FALSE(mailbox.try_post([] {}));
  mailbox.post([] {});
  std::vector<Task> tasks;
  mailbox.swap(tasks);
  EXPECT_EQ(tasks.size(), 3U);
  EXPECT_TRUE(mailbox.try_post([] {}));
}

TEST(Mailbox, WakesItsOwnerOnlyWhenItSleeps) {
  Mailbox mailbox(10);
  mailbox.post([] {});
  EXPECT_FALSE(is_readable(mailbox.wake_fd()));
  EXPECT_FALSE(mailbox.try_sleep());  // there is mail
  std::vector<Task> tasks;
  mailbox.swap(tasks);
  EXPECT_TRUE(mailbox.try_sleep());
  std::thread([&] { mailbox.post([] {}); }).join();
  EXPECT_TRUE(is_readable(mailbox.wake_fd()));
}

}  // namespace
}  // namespace hubbub::runtime
