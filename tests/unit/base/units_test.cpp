#include "hubbub/base/units.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace hubbub::base {
namespace {

using std::chrono::milliseconds;

TEST(Units, CountsAreDigitsWithUnderscoresBetweenThem) {
  EXPECT_EQ(parse_count("0"), 0U);
  EXPECT_EQ(parse_count("1_000_000"), 1'000'000U);
  EXPECT_EQ(parse_count("18446744073709551615"), UINT64_MAX);
  for (const auto* bad :
       {"", "_", "_1", "1_", "1__0", "-1", "+1", " 1", "1 ", "1.5", "0x10", "1e3", "18446744073709551616"}) {
    EXPECT_EQ(parse_count(bad), std::nullopt) << bad;
  }
}

TEST(Units, DurationsHaveAUnitOrAreSeconds) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("30s"), milliseconds(30'000));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300'000));
  EXPECT_EQ(parse_duration("24h"), milliseconds(86'400'000));
  EXPECT_EQ(parse_duration("7d"), milliseconds(604'800'000));
  EXPECT_EQ(parse_duration("106751991167d"), milliseconds(9'223'372'036'828'800'000));
  EXPECT_EQ(parse_duration("30"), milliseconds(30'000));
  for (const auto* bad : {"", "s", "ms", "d", "1D", "1d12h", "1 s", "1.5s", "-1s", "1S", "1h30m", "106751991168d",
                          "9223372036854775807h"}) {
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
  }
}

TEST(Units, SizesHaveABinaryUnitOrAreBytes) {
  EXPECT_EQ(parse_size("64KiB"), 65'536U);
  EXPECT_EQ(parse_size("1MiB"), 1'048'576U);
  EXPECT_EQ(parse_size("2GiB"), 2'147'483'648U);
  EXPECT_EQ(parse_size("512B"), 512U);
  EXPECT_EQ(parse_size("65536"), 65'536U);
  for (const auto* bad : {"", "KiB", "64KB", "64k", "64kib", "1.5MiB", "9223372036854775807KiB"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

TEST(Units, FormattedValuesParseBackToThemselves) {
  for (const std::int64_t ms :
       {0, 1, 999, 1'000, 1'500, 60'000, 90'000, 3'600'000, 86'400'000, 90'000'000, 604'800'000}) {
    EXPECT_EQ(parse_duration(format_duration(milliseconds(ms))), milliseconds(ms)) << ms;
  }
  for (const std::uint64_t bytes : {0ULL, 1ULL, 1'000ULL, 1'024ULL, 65'536ULL, 65'537ULL, 1ULL << 30, 3ULL << 40}) {
    EXPECT_EQ(parse_size(format_size(bytes)), bytes) << bytes;
  }
  EXPECT_EQ(format_duration(milliseconds(90'000)), "90s");
  EXPECT_EQ(format_duration(milliseconds(86'400'000)), "1d");
  EXPECT_EQ(format_duration(milliseconds(90'000'000)), "25h");
  EXPECT_EQ(format_size(65'536), "64KiB");
}

}  // namespace
}  // namespace hubbub::base
