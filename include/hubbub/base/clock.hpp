#pragma once

#include <cstdint>

namespace hubbub::base {

/// Time, injectable so that tests own it. [any thread]
class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since an arbitrary start; never goes back (CLOCK_MONOTONIC).
  virtual std::int64_t steady_ms() const = 0;
  /// Milliseconds since 1970-01-01T00:00:00Z (CLOCK_REALTIME).
  virtual std::int64_t unix_ms() const = 0;
};

class SystemClock final : public Clock {
 public:
  std::int64_t steady_ms() const override;
  std::int64_t unix_ms() const override;
};

/// A clock that stands still until a test moves it.
class ManualClock final : public Clock {
 public:
  std::int64_t steady_ms() const override { return steady_ms_; }
  std::int64_t unix_ms() const override { return unix_base_ms_ + steady_ms_; }
  void advance_ms(std::int64_t ms) { steady_ms_ += ms; }

 private:
  std::int64_t steady_ms_ = 0;
  std::int64_t unix_base_ms_ = 1'700'000'000'000;
};

}  // namespace hubbub::base
