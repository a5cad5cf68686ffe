#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace hubbub::base {

/// The two pointers by which a timer hangs in a slot.
struct TimerLink {
  TimerLink* next = nullptr;
  TimerLink* prev = nullptr;
};

/// A time-out, embedded in the object it belongs to (derive from it or make it a member): arming it allocates nothing.
/// It must be cancelled before it is destroyed; a linked timer that dies aborts, because the wheel would call into
/// freed memory. Expired timers and those whose wheel is gone are not linked.
struct Timer : TimerLink {
  Timer() noexcept = default;
  explicit Timer(void (*expire)(Timer&)) noexcept : on_expire(expire) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer();

  bool linked() const noexcept { return next != nullptr; }

  std::uint64_t deadline_tick : 54 = 0;
  std::uint64_t slot : 10 = 0;
  void (*on_expire)(Timer&) = nullptr;
};
static_assert(sizeof(Timer) <= 32);

/// All time-outs of one shard. arm and cancel cost the same however many there are, and advance costs by the timers it
/// moves, never by the time that went by. [shard]
///
/// Nine levels of 64 slots; a slot of level L spans 64^L ticks, so every deadline has a place and none needs clamping.
/// A timer hangs at the level of the highest digit (base 64) in which its deadline differs from the current tick. Hence
/// all timers of a level are due before those of the levels above it, and the first occupied slot of the lowest
/// occupied level is the next thing to do.
class TimingWheel {
 public:
  static constexpr std::int64_t kTickMs = 8;

  explicit TimingWheel(std::int64_t now_ms) noexcept;
  /// Leaves its timers unlinked.
  ~TimingWheel();
  TimingWheel(const TimingWheel&) = delete;
  TimingWheel& operator=(const TimingWheel&) = delete;

  /// Arms, or moves a timer that is armed. It expires in the first advance at or after the deadline rounded up to a
  /// tick: never early, at most one tick late. A deadline that has passed expires at the next tick and never within the
  /// running advance, so a callback that arms itself again cannot hang the shard.
  void arm(Timer& timer, std::int64_t deadline_ms) noexcept;
  /// Nothing happens when it is not linked.
  void cancel(Timer& timer) noexcept;

  /// Calls on_expire of all that is due, earlier deadlines first. The timer is unlinked when it is called. A callback
  /// may arm and cancel any timer, and destroy its own object or (when cancelled) others; it must not call advance. A
  /// time before the last one does nothing.
  void advance(std::int64_t now_ms);

  /// When advance must be called next, at the latest; nullopt when nothing is armed. May come before the next expiry,
  /// because timers far away are sorted anew on the way.
  std::optional<std::int64_t> next_wake_ms() const noexcept;

  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr unsigned kBits = 6;
  static constexpr unsigned kSlots = 1U << kBits;
  static constexpr unsigned kLevels = 9;
  static constexpr std::uint64_t kMaxTick = (std::uint64_t{1} << (kBits * kLevels)) - 1;

  struct Next {
    unsigned slot;
    std::uint64_t tick;
  };
  Next next_slot() const noexcept;
  void place(Timer& timer) noexcept;
  void unlink(Timer& timer) noexcept;
  void vacate(unsigned slot) noexcept;

  const std::int64_t origin_ms_;
  std::uint64_t tick_ = 0;  // every slot up to here has been emptied
  std::size_t size_ = 0;
  std::uint32_t levels_ = 0;                       // bit L: level L holds timers
  std::array<std::uint64_t, kLevels> occupied_{};  // bit s: slot s of the level does
  std::array<TimerLink, kLevels * kSlots> slots_;
  TimerLink due_;  // taken from the slots by the running advance, not called yet
};

}  // namespace hubbub::base
