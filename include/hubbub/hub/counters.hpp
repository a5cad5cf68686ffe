#pragma once

#include <atomic>
#include <cstdint>

namespace hubbub::hub {

/// Written by one shard, read by anybody: no locked instruction on the way.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(std::uint64_t n = 1) { add(~n + 1); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// What one shard has counted since the start.
struct Counters {
  Counter sessions;            ///< open now
  Counter commands;            ///< received
  Counter command_errors;      ///< answered with `error`
  Counter deliveries;          ///< events queued to a session from a room, inbox or watch
  Counter ephemera_dropped;    ///< not sent because the reader was slow or a mailbox full
  Counter ephemera_conflated;  ///< replaced by a newer one of their key
  Counter lags;                ///< times a session's stream gave way to a mark
  Counter refills;             ///< pages read back from a stream
  Counter gaps;                ///< times that retention no longer reached a mark
  Counter slow_closed;         ///< sessions closed as slow consumers
  Counter rate_limited;        ///< commands refused for their rate
};

}  // namespace hubbub::hub
