#include "hubbub/protocol/timestamp.hpp"

#include <algorithm>

namespace hubbub::protocol {
namespace {

constexpr int64_t kMsPerDay = 86'400'000;
constexpr int64_t kFirstMs = -62'167'219'200'000;  // 0000-01-01T00:00:00.000Z
constexpr int64_t kLastMs = 253'402'300'799'999;   // 9999-12-31T23:59:59.999Z

void put(char* at, unsigned value, int digits) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) at[i] = static_cast<char>('0' + value % 10);
}

}  // namespace

// HOT PATH
void append_iso8601_ms(std::string& out, int64_t unix_ms) {
  const auto since_zero = static_cast<uint64_t>(std::clamp(unix_ms, kFirstMs, kLastMs) - kFirstMs);
  const auto ms = static_cast<unsigned>(since_zero % kMsPerDay);
  // Count from 0000-03-01 in years that begin in March, so that the leap day is a year's last: 306 days of the year
  // "-1" come before that in a 400-year cycle (146,097 days), to which one whole cycle is added to stay positive.
  const auto day = static_cast<unsigned>(since_zero / kMsPerDay) + 146'097 - 60;
  const unsigned cycle = day / 146'097;
  const unsigned day_of_cycle = day % 146'097;
  const unsigned year_of_cycle =
      (day_of_cycle - day_of_cycle / 1'460 + day_of_cycle / 36'524 - day_of_cycle / 146'096) / 365;
  const unsigned day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
  const unsigned month_from_march = (5 * day_of_year + 2) / 153;  // months of 31, 30, 31, 30, 31 days: 153 each five
  const unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const unsigned year = (cycle * 400 + year_of_cycle + (month <= 2 ? 1 : 0)) - 400;

  char text[] = "0000-00-00T00:00:00.000Z";
  put(text, year, 4);
  put(text + 5, month, 2);
  put(text + 8, day_of_year - (153 * month_from_march + 2) / 5 + 1, 2);
  put(text + 11, ms / 3'600'000, 2);
  put(text + 14, ms / 60'000 % 60, 2);
  put(text + 17, ms / 1'000 % 60, 2);
  put(text + 20, ms % 1'000, 3);
  out.append(text, sizeof text - 1);
}

}  // namespace hubbub::protocol
