#include "hubbub/base/timing_wheel.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace hubbub::base {
namespace {

struct Probe : Timer {
  explicit Probe(std::vector<int>& out, int number) : Timer(&expire), log(out), id(number) {}
  static void expire(Timer& timer) {
    auto& self = static_cast<Probe&>(timer);
    self.log.push_back(self.id);
  }
  std::vector<int>& log;
  int id;
};

using Log = std::vector<int>;

TEST(TimingWheel, NeverFiresEarlyAndAtMostOneTickLate) {
  constexpr std::int64_t kStart = 1003;
  for (std::int64_t delay : {1, 7, 8, 9, 100, 511, 512, 513, 4096, 30'000, 3'600'000, 86'400'000}) {
    TimingWheel wheel(kStart);
    Log log;
    Probe timer(log, 1);
    wheel.arm(timer, kStart + delay);
    wheel.advance(kStart + delay - 1);
    EXPECT_TRUE(log.empty()) << delay;
    wheel.advance(kStart + delay + TimingWheel::kTickMs - 1);
    EXPECT_EQ(log, Log{1}) << delay;
    EXPECT_FALSE(timer.linked());
    EXPECT_EQ(wheel.size(), 0U);
  }
}

TEST(TimingWheel, ExpiresEarlierDeadlinesFirstAfterALongJump) {
  TimingWheel wheel(0);
  Log log;
  Probe day(log, 3), hour(log, 2), second(log, 1);
  wheel.arm(day, 86'400'000);
  wheel.arm(second, 1000);
  wheel.arm(hour, 3'600'000);
  wheel.advance(1'000'000'000'000);
  EXPECT_EQ(log, (Log{1, 2, 3}));
}

TEST(TimingWheel, ArmingAnArmedTimerMovesIt) {
  TimingWheel wheel(0);
  Log log;
  Probe timer(log, 1);
  wheel.arm(timer, 1000);
  wheel.arm(timer, 2000);
  EXPECT_EQ(wheel.size(), 1U);
  wheel.advance(1999);
  EXPECT_TRUE(log.empty());
  wheel.arm(timer, 2100);
  wheel.arm(timer, 2008);
  wheel.advance(2008);
  EXPECT_EQ(log, Log{1});
}

TEST(TimingWheel, CancelledTimersDoNotExpireAndCancellingTwiceIsNothing) {
  TimingWheel wheel(0);
  Log log;
  Probe timer(log, 1);
  wheel.cancel(timer);
  wheel.arm(timer, 100);
  wheel.cancel(timer);
  wheel.cancel(timer);
  EXPECT_EQ(wheel.next_wake_ms(), std::nullopt);
  wheel.advance(1000);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(TimingWheel, ADeadlineInThePastExpiresAtTheNextTick) {
  TimingWheel wheel(0);
  wheel.advance(8000);
  Log log;
  Probe timer(log, 1);
  wheel.arm(timer, -5);
  EXPECT_EQ(wheel.next_wake_ms(), 8008);
  wheel.advance(8007);
  EXPECT_TRUE(log.empty());
  wheel.advance(8008);
  EXPECT_EQ(log, Log{1});
}

TEST(TimingWheel, HasAPlaceForDeadlinesAtTheEndOfTime) {
  TimingWheel wheel(-1'000'000);
  Log log;
  Probe timer(log, 1);
  wheel.arm(timer, std::numeric_limits<std::int64_t>::max());
  wheel.advance(400LL * 365 * 86'400'000);
  EXPECT_TRUE(log.empty());
  EXPECT_TRUE(timer.linked());
  wheel.cancel(timer);
  wheel.arm(timer, 400LL * 365 * 86'400'000 + 8);
  wheel.advance(400LL * 365 * 86'400'000 + 16);
  EXPECT_EQ(log, Log{1});
}

TEST(TimingWheel, ATimeThatWentBackDoesNothing) {
  TimingWheel wheel(1000);
  Log log;
  Probe timer(log, 1);
  wheel.advance(5000);
  wheel.arm(timer, 6000);
  wheel.advance(10);
  EXPECT_TRUE(timer.linked());
  wheel.advance(6000);
  EXPECT_EQ(log, Log{1});
}

TEST(TimingWheel, SleepingUntilItAsksReachesAFarDeadlineInAFewWakes) {
  TimingWheel wheel(0);
  Log log;
  Probe timer(log, 1);
  wheel.arm(timer, 86'400'000);
  int wakes = 0;
  for (; wheel.next_wake_ms(); ++wakes) wheel.advance(*wheel.next_wake_ms());
  EXPECT_EQ(log, Log{1});
  EXPECT_LE(wakes, 5);
}

struct Rearming : Timer {
  explicit Rearming(TimingWheel& w) : Timer(&expire), wheel(w) {}
  static void expire(Timer& timer) {
    auto& self = static_cast<Rearming&>(timer);
    ++self.count;
    self.wheel.arm(self, 0);  // long past
  }
  TimingWheel& wheel;
  int count = 0;
};

TEST(TimingWheel, ACallbackThatArmsItselfInThePastRunsOncePerAdvance) {
  TimingWheel wheel(0);
  Rearming timer(wheel);
  wheel.arm(timer, 8);
  wheel.advance(1'000'000);
  EXPECT_EQ(timer.count, 1);
  wheel.advance(1'000'008);
  EXPECT_EQ(timer.count, 2);
  wheel.cancel(timer);
}

struct Owner {
  struct Mine : Timer {
    using Timer::Timer;
    Owner* owner = nullptr;
  };
  explicit Owner(TimingWheel& w) : wheel(w) {
    timer.owner = this;
    timer.on_expire = [](Timer& t) {
      Owner* self = static_cast<Mine&>(t).owner;
      self->other.reset();
      delete self;
    };
  }
  ~Owner() { wheel.cancel(timer); }
  TimingWheel& wheel;
  Mine timer;
  std::unique_ptr<Owner> other;
};

TEST(TimingWheel, ACallbackMayDestroyItsObjectAndOthersThatAreDueToo) {
  TimingWheel wheel(0);
  auto* owner = new Owner(wheel);
  owner->other = std::make_unique<Owner>(wheel);
  wheel.arm(owner->timer, 100);
  wheel.arm(owner->other->timer, 200);
  wheel.advance(1000);
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(TimingWheel, LeavesItsTimersUnlinkedWhenItGoesFirst) {
  Log log;
  Probe timer(log, 1);
  {
    TimingWheel wheel(0);
    wheel.arm(timer, 100);
  }
  EXPECT_FALSE(timer.linked());
}

TEST(TimingWheelDeathTest, DestroyingALinkedTimerAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TimingWheel wheel(0);
        Timer timer;
        wheel.arm(timer, 100);
      },
      "");
}

}  // namespace
}  // namespace hubbub::base
