#include "hubbub/base/timing_wheel.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>

namespace hubbub::base {

namespace {

void make_empty(TimerLink& list) noexcept { list.next = list.prev = &list; }
bool is_empty(const TimerLink& list) noexcept { return list.next == &list; }

void push_back(TimerLink& list, TimerLink& item) noexcept {
  item.prev = list.prev;
  item.next = &list;
  list.prev->next = &item;
  list.prev = &item;
}

void detach(TimerLink& item) noexcept {
  item.prev->next = item.next;
  item.next->prev = item.prev;
  item.next = item.prev = nullptr;
}

Timer& front(TimerLink& list) noexcept { return static_cast<Timer&>(*list.next); }

}  // namespace

Timer::~Timer() {
  if (linked()) std::abort();
}

TimingWheel::TimingWheel(std::int64_t now_ms) noexcept : origin_ms_(now_ms) {
  for (TimerLink& slot : slots_) make_empty(slot);
  make_empty(due_);
}

TimingWheel::~TimingWheel() {
  for (TimerLink& slot : slots_) {
    while (!is_empty(slot)) detach(front(slot));
  }
  while (!is_empty(due_)) detach(front(due_));
}

void TimingWheel::arm(Timer& timer, std::int64_t deadline_ms) noexcept {
  if (timer.linked()) {
    unlink(timer);
  } else {
    ++size_;
  }
  std::uint64_t tick = 0;
  if (deadline_ms > origin_ms_) {
    // Unsigned: the difference of two int64 may not fit in one.
    const auto span = static_cast<std::uint64_t>(deadline_ms) - static_cast<std::uint64_t>(origin_ms_);
    tick = span / kTickMs + (span % kTickMs != 0 ? 1 : 0);
  }
  timer.deadline_tick = std::clamp(tick, std::min(tick_ + 1, kMaxTick), kMaxTick);
  place(timer);
}

void TimingWheel::cancel(Timer& timer) noexcept {
  if (!timer.linked()) return;
  unlink(timer);
  --size_;
}

void TimingWheel::advance(std::int64_t now_ms) {
  assert(is_empty(due_) && "advance called from a callback");
  if (now_ms <= origin_ms_) return;
  const auto span = static_cast<std::uint64_t>(now_ms) - static_cast<std::uint64_t>(origin_ms_);
  const std::uint64_t target = std::min(span / kTickMs, kMaxTick);
  if (target <= tick_) return;

  while (levels_ != 0) {
    const Next next = next_slot();
    if (next.tick > target) break;
    tick_ = next.tick;
    TimerLink& slot = slots_[next.slot];
    while (!is_empty(slot)) {
      Timer& timer = front(slot);
      detach(timer);
      if (timer.deadline_tick <= tick_) {
        push_back(due_, timer);
      } else {
        place(timer);  // on a lower level: it agrees with tick_ in this digit now
      }
    }
    vacate(next.slot);
  }
  tick_ = target;  // before the calls: what they arm lands behind all that is due now

  while (!is_empty(due_)) {
    Timer& timer = front(due_);
    detach(timer);
    --size_;
    timer.on_expire(timer);
  }
}

std::optional<std::int64_t> TimingWheel::next_wake_ms() const noexcept {
  if (!is_empty(due_)) return origin_ms_ + static_cast<std::int64_t>(tick_) * kTickMs;
  if (levels_ == 0) return std::nullopt;
  return origin_ms_ + static_cast<std::int64_t>(next_slot().tick) * kTickMs;
}

TimingWheel::Next TimingWheel::next_slot() const noexcept {
  const auto level = static_cast<unsigned>(std::countr_zero(levels_));
  const auto digit = static_cast<unsigned>(std::countr_zero(occupied_[level]));
  const unsigned shift = level * kBits;
  const std::uint64_t above = tick_ >> (shift + kBits) << (shift + kBits);
  return {level * kSlots + digit, above | std::uint64_t{digit} << shift};
}

void TimingWheel::place(Timer& timer) noexcept {
  const std::uint64_t deadline = timer.deadline_tick;
  const auto level = (static_cast<unsigned>(std::bit_width((deadline ^ tick_) | 1)) - 1) / kBits;
  const auto digit = static_cast<unsigned>(deadline >> (level * kBits)) % kSlots;
  timer.slot = level * kSlots + digit;
  push_back(slots_[timer.slot], timer);
  occupied_[level] |= std::uint64_t{1} << digit;
  levels_ |= 1U << level;
}

void TimingWheel::unlink(Timer& timer) noexcept {
  detach(timer);
  // A timer that waits in due_ still names its old slot; vacating that is harmless, for it looks before it clears.
  vacate(static_cast<unsigned>(timer.slot));
}

void TimingWheel::vacate(unsigned slot) noexcept {
  if (!is_empty(slots_[slot])) return;
  const unsigned level = slot / kSlots;
  occupied_[level] &= ~(std::uint64_t{1} << slot % kSlots);
  if (occupied_[level] == 0) levels_ &= ~(1U << level);
}

}  // namespace hubbub::base
