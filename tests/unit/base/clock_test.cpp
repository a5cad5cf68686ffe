#include "hubbub/base/clock.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace hubbub::base {
namespace {

TEST(ManualClock, StandsStillUntilItIsMoved) {
  ManualClock clock;
  const std::int64_t steady = clock.steady_ms();
  const std::int64_t unix = clock.unix_ms();
  EXPECT_EQ(clock.steady_ms(), steady);
  clock.advance_ms(1500);
  EXPECT_EQ(clock.steady_ms(), steady + 1500);
  EXPECT_EQ(clock.unix_ms(), unix + 1500);
}

TEST(SystemClock, FollowsTheSystemAndNeverGoesBack) {
  const SystemClock clock;
  const auto unix_now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  EXPECT_NEAR(static_cast<double>(clock.unix_ms()), static_cast<double>(unix_now), 5000);
  std::int64_t last = clock.steady_ms();
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t now = clock.steady_ms();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace hubbub::base
