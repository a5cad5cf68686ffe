#include "hubbub/protocol/timestamp.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>

namespace hubbub::protocol {
namespace {

std::string ours(int64_t ms) {
  std::string out;
  append_iso8601_ms(out, ms);
  return out;
}

std::string by_gmtime(int64_t ms) {
  const int64_t rest = (ms % 1000 + 1000) % 1000;
  const std::time_t seconds = (ms - rest) / 1000;
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  std::array<char, 96> text;
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, static_cast<int>(rest));
  return text.data();
}

constexpr int64_t kFirstMs = -62'167'219'200'000;
constexpr int64_t kLastMs = 253'402'300'799'999;

TEST(Timestamp, WritesKnownMoments) {
  EXPECT_EQ(ours(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(ours(-1), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(ours(951'827'696'007), "2000-02-29T12:34:56.007Z");
  EXPECT_EQ(ours(kFirstMs), "0000-01-01T00:00:00.000Z");
  EXPECT_EQ(ours(kLastMs), "9999-12-31T23:59:59.999Z");
}

TEST(Timestamp, ClampsWhatFourDigitsOfYearCannotSay) {
  EXPECT_EQ(ours(INT64_MIN), ours(kFirstMs));
  EXPECT_EQ(ours(INT64_MAX), ours(kLastMs));
}

TEST(Timestamp, AgreesWithGmtimeOnEveryDayOfTwoCyclesOfTheCalendar) {
  constexpr int64_t kDayMs = 86'400'000;
  const int64_t first = -12'219'292'800'000;  // 1582-10-15
  for (int64_t day = 0; day < 2 * 146'097; ++day) {
    const int64_t ms = first + day * kDayMs;
    ASSERT_EQ(ours(ms), by_gmtime(ms));
    ASSERT_EQ(ours(ms - 1), by_gmtime(ms - 1));
  }
}

TEST(Timestamp, AgreesWithGmtimeOnRandomMoments) {
  std::mt19937_64 random(1);
  std::uniform_int_distribution<int64_t> any(kFirstMs, kLastMs);
  for (int i = 0; i < 200'000; ++i) {
    const int64_t ms = any(random);
    ASSERT_EQ(ours(ms), by_gmtime(ms)) << ms;
  }
}

}  // namespace
}  // namespace hubbub::protocol
