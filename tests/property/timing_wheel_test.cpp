#include "hubbub/base/timing_wheel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace hubbub::base {
namespace {

constexpr std::int64_t kTickMs = TimingWheel::kTickMs;

// The same promises over a std::multimap: a timer is due at the first tick at or after its deadline, yet after the tick
// at which the wheel stood when it was armed.
class Model {
 public:
  explicit Model(std::int64_t now_ms) : origin_ms_(now_ms) {}

  void arm(int id, std::int64_t deadline_ms) {
    cancel(id);
    std::int64_t tick = deadline_ms <= origin_ms_ ? 0 : (deadline_ms - origin_ms_ + kTickMs - 1) / kTickMs;
    by_id_[id] = by_tick_.emplace(std::max(tick, tick_ + 1), id);
  }
  void cancel(int id) {
    const auto it = by_id_.find(id);
    if (it == by_id_.end()) return;
    by_tick_.erase(it->second);
    by_id_.erase(it);
  }
  void set_now(std::int64_t now_ms) { tick_ = std::max(tick_, (now_ms - origin_ms_) / kTickMs); }
  // True when `id` may expire now and nothing with an earlier tick should have gone before.
  bool expire(int id) {
    const auto it = by_id_.find(id);
    if (it == by_id_.end() || it->second->first > tick_ || it->second->first != by_tick_.begin()->first) return false;
    cancel(id);
    return true;
  }
  bool anything_due() const { return !by_tick_.empty() && by_tick_.begin()->first <= tick_; }
  std::size_t size() const { return by_tick_.size(); }
  std::int64_t first_ms() const { return origin_ms_ + by_tick_.begin()->first * kTickMs; }

 private:
  std::int64_t origin_ms_;
  std::int64_t tick_ = 0;
  std::multimap<std::int64_t, int> by_tick_;
  std::map<int, std::multimap<std::int64_t, int>::iterator> by_id_;
};

struct World;
struct NumberedTimer : Timer {
  NumberedTimer(World& w, int number) : Timer(&on_due), world(w), id(number) {}
  static void on_due(Timer& timer);
  World& world;
  int id;
};

struct World {
  explicit World(std::uint32_t seed, std::int64_t start_ms)
      : random(seed), now_ms(start_ms), wheel(start_ms), model(start_ms) {
    for (int id = 0; id < 200; ++id) timers.push_back(std::make_unique<NumberedTimer>(*this, id));
  }

  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  }
  // Spans of every magnitude, from within a tick to years.
  std::int64_t any_span_ms() { return pick(0, (std::int64_t{1} << pick(0, 38)) - 1); }
  std::unique_ptr<NumberedTimer>& any_timer() { return timers[static_cast<std::size_t>(pick(0, 199))]; }

  void arm_one() {
    NumberedTimer& timer = *any_timer();
    const std::int64_t deadline = now_ms + any_span_ms() - (pick(0, 9) == 0 ? 50 : 0);
    wheel.arm(timer, deadline);
    model.arm(timer.id, deadline);
  }
  void cancel(NumberedTimer& timer) {
    wheel.cancel(timer);
    model.cancel(timer.id);
  }
  void replace(std::unique_ptr<NumberedTimer>& timer) {  // the object dies, a new one takes its number
    cancel(*timer);
    timer = std::make_unique<NumberedTimer>(*this, timer->id);
  }
  void advance_to(std::int64_t to_ms) {
    now_ms = to_ms;
    model.set_now(now_ms);
    wheel.advance(now_ms);
    ASSERT_FALSE(model.anything_due());
  }
  void check() {
    ASSERT_EQ(wheel.size(), model.size());
    const auto wake = wheel.next_wake_ms();
    ASSERT_EQ(wake.has_value(), model.size() != 0);
    if (wake) {
      ASSERT_LE(*wake, model.first_ms());
      ASSERT_GT(*wake, now_ms - kTickMs);
    }
  }

  std::mt19937 random;
  std::int64_t now_ms;
  TimingWheel wheel;
  Model model;
  std::vector<std::unique_ptr<NumberedTimer>> timers;
  int expired = 0;
};

void NumberedTimer::on_due(Timer& timer) {
  auto& self = static_cast<NumberedTimer&>(timer);
  World& world = self.world;
  ASSERT_TRUE(world.model.expire(self.id)) << self.id;
  ASSERT_FALSE(timer.linked());
  ++world.expired;
  switch (world.pick(0, 5)) {
    case 0:
      world.arm_one();
      break;
    case 1:
      world.cancel(*world.any_timer());
      break;
    case 2:
      world.replace(world.timers[static_cast<std::size_t>(self.id)]);
      break;
    case 3:
      world.replace(world.any_timer());
      break;
    default:
      break;
  }
}

class TimingWheelProperty : public testing::TestWithParam<std::uint32_t> {};

TEST_P(TimingWheelProperty, DoesWhatAMultimapDoes) {
  const std::int64_t start_ms = std::int64_t{GetParam()} * 7'919'000'003 - 12'345;
  World world(GetParam(), start_ms);
  for (int step = 0; step < 20'000; ++step) {
    switch (world.pick(0, 9)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        world.arm_one();
        break;
      case 5:
        world.cancel(*world.any_timer());
        break;
      case 6:
        world.advance_to(world.now_ms + world.pick(0, 40));
        break;
      case 7:
        world.advance_to(world.now_ms + world.any_span_ms());
        break;
      default:  // as a shard does: sleep until the wheel asks
        if (const auto wake = world.wheel.next_wake_ms()) world.advance_to(std::max(world.now_ms, *wake));
        break;
    }
    world.check();
    if (HasFatalFailure()) FAIL() << "step " << step;
  }
  EXPECT_GT(world.expired, 1000);

  // Woken only when it asks, it comes to its end in few steps, however far away the last deadline is.
  int wakes = 0;
  for (; world.wheel.size() != 0; ++wakes) {
    world.advance_to(std::max(world.now_ms, *world.wheel.next_wake_ms()));
    if (HasFatalFailure()) FAIL();
    ASSERT_LT(wakes, 100'000);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, TimingWheelProperty, testing::Values(1, 2, 3, 4, 5, 6, 7, 8));

}  // namespace
}  // namespace hubbub::base
