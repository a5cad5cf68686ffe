#pragma once

#include <algorithm>
#include <cstdint>

namespace hubbub::base {

/// A rate limit in 8 bytes: every session has several, so the rate and the burst stay with whoever configures them and
/// are handed in. Kept is not a count of tokens but the time at which the bucket is full again (the GCRA form): no
/// rounding while it fills, and a new bucket, all zero, is full. [shard]
class TokenBucket {
 public:
  /// Takes `n` tokens, or none and tells so. A rate of 0 or less limits nothing. More than `burst` at once is never
  /// given. `now_ms` is a steady time >= 0; one that went back counts as no time gone by.
  bool try_take(std::int64_t now_ms, double rate_per_s, double burst, double n = 1) noexcept {
    if (rate_per_s <= 0) return true;
    const std::int64_t now = std::max<std::int64_t>(now_ms, 0) * kUnitsPerMs;
    const std::int64_t full_at = std::max(full_at_, now) + units(n / rate_per_s);
    if (full_at - now > units(burst / rate_per_s) + 1) return false;
    full_at_ = full_at;
    return true;
  }

 private:
  // An eighth of a nanosecond; 36 years fit. Costs are rounded down and the bound up, so a burst is never refused in
  // parts. What that gives too much is one part in a thousand of 10 M tokens/s taken singly, and less in all else.
  static constexpr std::int64_t kUnitsPerMs = 8'000'000;
  static constexpr double kUnitsPerSecond = 1000.0 * kUnitsPerMs;
  static constexpr std::int64_t units(double seconds) noexcept {
    return static_cast<std::int64_t>(std::clamp(seconds * kUnitsPerSecond, 0.0, 2e18));
  }

  std::int64_t full_at_ = 0;
};
static_assert(sizeof(TokenBucket) == 8);

}  // namespace hubbub::base
