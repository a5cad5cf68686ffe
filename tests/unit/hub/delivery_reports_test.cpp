#include "hubbub/hub/delivery_reports.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "hubbub/base/clock.hpp"

namespace hubbub::hub {
namespace {

using base::SharedString;

class DeliveryReportsTest : public testing::Test {
 protected:
  using Outcome = std::shared_ptr<std::optional<bool>>;

  /// Opens and waits at once.
  Outcome wait(const std::string& user, std::uint64_t seq, std::int64_t within_ms = 1'000) {
    return wait(reports->open(SharedString(user)), seq, within_ms);
  }
  Outcome wait(DeliveryReports::Waiter* waiter, std::uint64_t seq, std::int64_t within_ms = 1'000) {
    auto outcome = std::make_shared<std::optional<bool>>();
    reports->wait(waiter, seq, within_ms, [outcome](bool acked) {
      EXPECT_FALSE(outcome->has_value()) << "told twice";
      *outcome = acked;
    });
    return outcome;
  }
  void advance_ms(std::int64_t ms) {
    clock.advance_ms(ms);
    shard.turn_for_test();
  }

  base::ManualClock clock;
  runtime::Shard shard{0, 64, clock};
  std::atomic<std::size_t> waiting{0};
  std::optional<DeliveryReports> reports{std::in_place, shard, waiting, 4};
};

constexpr bool kAcked = true;
constexpr bool kNotAcked = false;

TEST_F(DeliveryReportsTest, TellsOfAReceivedThatComesInTime) {
  const Outcome outcome = wait("ann", 3);
  EXPECT_EQ(waiting, 1U);
  reports->received(SharedString("bob"), 9);
  reports->received(SharedString("ann"), 2);
  EXPECT_FALSE(*outcome);
  reports->received(SharedString("ann"), 3);
  EXPECT_EQ(*outcome, kAcked);
  EXPECT_EQ(waiting, 0U);
  advance_ms(5'000);  // its timer is gone too
}

TEST_F(DeliveryReportsTest, TellsOfAReceivedThatComesBeforeItsSeqIsKnown) {
  DeliveryReports::Waiter* waiter = reports->open(SharedString("ann"));
  reports->received(SharedString("ann"), 3);
  EXPECT_EQ(*wait(waiter, 3), kAcked);
  EXPECT_EQ(waiting, 0U);
  // With the last who waited what was received is forgotten.
  EXPECT_FALSE(*wait("ann", 3));
}

TEST_F(DeliveryReportsTest, TellsWhenNoReceivedCame) {
  const Outcome outcome = wait("ann", 3);
  advance_ms(990);
  EXPECT_FALSE(*outcome);
  advance_ms(30);
  EXPECT_EQ(*outcome, kNotAcked);
  EXPECT_EQ(waiting, 0U);
  reports->received(SharedString("ann"), 3);
}

TEST_F(DeliveryReportsTest, TellsAllWhoWaitForTheSameOrLess) {
  const Outcome one = wait("ann", 1);
  const Outcome two = wait("ann", 2);
  const Outcome three = wait("ann", 3);
  const Outcome other = wait("bob", 1);
  reports->received(SharedString("ann"), 2);
  EXPECT_EQ(*one, kAcked);
  EXPECT_EQ(*two, kAcked);
  EXPECT_FALSE(*three);
  EXPECT_FALSE(*other);
  EXPECT_EQ(waiting, 2U);
  reports->received(SharedString("ann"), 3);
  EXPECT_EQ(*three, kAcked);
}

TEST_F(DeliveryReportsTest, TakesNoMoreThanMayWait) {
  DeliveryReports::Waiter* first = reports->open(SharedString("ann"));
  for (int i = 0; i < 3; ++i) EXPECT_NE(reports->open(SharedString("bob")), nullptr);
  EXPECT_EQ(reports->open(SharedString("carl")), nullptr);
  EXPECT_EQ(waiting, 4U);
  reports->cancel(first);
  EXPECT_EQ(waiting, 3U);
  EXPECT_NE(reports->open(SharedString("carl")), nullptr);
}

TEST_F(DeliveryReportsTest, TellsWhoWaitsWhenItStopsAndWhoComesAfterwards) {
  const Outcome waits = wait("ann", 1);
  const Outcome also = wait("ann", 2);
  DeliveryReports::Waiter* not_published = reports->open(SharedString("ann"));
  DeliveryReports::Waiter* acked_meanwhile = reports->open(SharedString("bob"));
  reports->stop();
  EXPECT_EQ(*waits, kNotAcked);
  EXPECT_EQ(*also, kNotAcked);
  EXPECT_EQ(*wait(not_published, 3), kNotAcked);
  reports->received(SharedString("bob"), 1);
  EXPECT_EQ(*wait(acked_meanwhile, 1), kAcked);
  EXPECT_EQ(waiting, 0U);
}

TEST_F(DeliveryReportsTest, LeavesNoTimerBehind) {
  const Outcome outcome = wait("ann", 1);
  reports.reset();
  advance_ms(5'000);
  EXPECT_FALSE(*outcome);
}

}  // namespace
}  // namespace hubbub::hub
