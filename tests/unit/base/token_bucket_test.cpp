#include "hubbub/base/token_bucket.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace hubbub::base {
namespace {

TEST(TokenBucket, StartsFullAndGivesExactlyTheBurst) {
  for (const double burst : {1.0, 3.0, 7.0, 100.0, 999.0}) {
    TokenBucket bucket;
    for (int i = 0; i < static_cast<int>(burst); ++i) ASSERT_TRUE(bucket.try_take(5000, burst, burst)) << burst;
    EXPECT_FALSE(bucket.try_take(5000, burst, burst)) << burst;
  }
}

TEST(TokenBucket, FillsAtTheRateUpToTheBurst) {
  TokenBucket bucket;
  ASSERT_TRUE(bucket.try_take(0, 10, 5, 5));
  EXPECT_FALSE(bucket.try_take(99, 10, 5));
  EXPECT_TRUE(bucket.try_take(100, 10, 5));
  EXPECT_FALSE(bucket.try_take(100, 10, 5));
  EXPECT_FALSE(bucket.try_take(299, 10, 5, 2));
  EXPECT_TRUE(bucket.try_take(300, 10, 5, 2));
  EXPECT_TRUE(bucket.try_take(3'600'000, 10, 5, 5));  // an hour fills no more than the burst
  EXPECT_FALSE(bucket.try_take(3'600'000, 10, 5));
}

TEST(TokenBucket, ARefusalTakesNothing) {
  TokenBucket bucket;
  ASSERT_TRUE(bucket.try_take(0, 10, 10, 8));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(bucket.try_take(0, 10, 10, 3));
  EXPECT_TRUE(bucket.try_take(0, 10, 10, 2));
}

TEST(TokenBucket, NeverGivesMoreThanTheBurstAtOnce) {
  TokenBucket bucket;
  EXPECT_FALSE(bucket.try_take(1'000'000, 100, 50, 51));
  EXPECT_TRUE(bucket.try_take(1'000'000, 100, 50, 50));
}

TEST(TokenBucket, ARateOfZeroLimitsNothing) {
  TokenBucket bucket;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.try_take(0, 0, 0, 1e9));
}

TEST(TokenBucket, HoldsTheRateOverALongTimeForSmallAndLargeRates) {
  for (const double rate : {0.5, 3.0, 1000.0, 100'000.0, 64.0 * 1024 * 1024}) {
    TokenBucket bucket;
    const double burst = rate < 1 ? 1 : rate;
    const double n = rate > 1000 ? rate / 500 : 1;  // bytes come in frames
    double taken = 0;
    constexpr std::int64_t kDays = 400LL * 86'400'000;  // a server runs long; 32 bits of milliseconds would not do
    for (std::int64_t ms = 0; ms <= 60'000; ++ms) {
      while (bucket.try_take(kDays + ms, rate, burst, n)) taken += n;
    }
    EXPECT_NEAR(taken, rate * 60 + burst, rate * 60 * 1e-4 + n) << rate;
  }
}

TEST(TokenBucket, AClockThatWentBackGivesNothingAndTakesNothing) {
  TokenBucket bucket;
  ASSERT_TRUE(bucket.try_take(10'000, 10, 10, 10));
  EXPECT_FALSE(bucket.try_take(5000, 10, 10));
  EXPECT_FALSE(bucket.try_take(10'000, 10, 10));
  EXPECT_TRUE(bucket.try_take(10'100, 10, 10));
}

TEST(TokenBucket, ANewRateHoldsFromTheNextTake) {
  TokenBucket bucket;
  ASSERT_TRUE(bucket.try_take(0, 10, 10, 10));
  EXPECT_FALSE(bucket.try_take(10, 10, 10));
  EXPECT_TRUE(bucket.try_take(10, 1000, 2000));
}

}  // namespace
}  // namespace hubbub::base
