// What MemoryBroker promises beyond the contract of all brokers: exact retention, bounded memory, forgetting.
#include "hubbub/broker/memory_broker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/retention.hpp"

namespace hubbub::broker {
namespace {

struct Recorder final : BrokerSink {
  struct Seen {
    StreamKey key;
    std::uint64_t epoch;
    std::uint64_t seq;
    std::string body;
  };
  void on_event(const StreamKey& key, std::uint64_t epoch, const StoredEvent& event) override {
    seen.push_back({key, epoch, event.seq, event.publication->body});
  }
  std::vector<Seen> seen;
};

class World {
 public:
  explicit World(const MemoryBrokerLimits& limits = {}) { broker_.emplace(clock, limits, sink); }
  MemoryBroker& broker() { return *broker_; }
  void destroy_broker() { broker_.reset(); }

  Published publish(const StreamKey& key, std::string body = "x", std::string dedupe_key = {}) {
    Published out;
    broker_->publish(key, {"message", std::move(body), std::move(dedupe_key), clock.unix_ms()},
                     [&](base::Result<Published> result) { out = *result; });
    return out;
  }
  Position subscribe(const StreamKey& key) {
    Position out;
    broker_->subscribe(key, [&](base::Result<Position> result) { out = *result; });
    return out;
  }
  Page read(const StreamKey& key, const ReadRange& range = {ReadRange::From::kSince, 0, 100'000}) {
    Page out;
    broker_->read(key, range, [&](base::Result<Page> result) { out = std::move(*result); });
    return out;
  }
  void pass(std::int64_t ms) {
    clock.advance_ms(ms);
    broker_->sweep();
  }

  base::ManualClock clock;
  Recorder sink;

 private:
  std::optional<MemoryBroker> broker_;
};

StreamKey room(std::string_view id) { return {StreamKind::kRoom, base::SharedString(id)}; }
StreamKey room(int number) { return room("room" + std::to_string(number)); }
StreamKey inbox(std::string_view id) { return {StreamKind::kInbox, base::SharedString(id)}; }

std::vector<RetentionRule> rules(std::initializer_list<std::string_view> texts) {
  std::vector<RetentionRule> out;
  for (const std::string_view text : texts) out.push_back(std::get<RetentionRule>(parse_retention_rule(text)));
  return out;
}

// ---- retention

TEST(MemoryBroker, KeepsExactlyTheCountItMay) {
  for (const std::size_t count : {1U, 2U, 4U, 5U, 1000U}) {
    World world({.retain_count = count});
    for (std::size_t i = 0; i < count * 2 + 3; ++i) world.publish(room("r"), std::to_string(i + 1));
    const Page page = world.read(room("r"));
    ASSERT_EQ(page.events.size(), count);
    EXPECT_EQ(page.first_seq, page.head_seq - count + 1);
    for (const StoredEvent& event : page.events) EXPECT_EQ(event.publication->body, std::to_string(event.seq));
    EXPECT_EQ(world.broker().usage().events, count);
  }
}

TEST(MemoryBroker, CountsTheOverheadOfAnEventAgainstTheBytesOfItsStream) {
  World world({.retain_count = 1'000'000, .retain_bytes = 100'000});
  for (int i = 0; i < 5000; ++i) world.publish(room("r"), "");
  EXPECT_GT(world.read(room("r")).events.size(), 250U);
  EXPECT_LT(world.read(room("r")).events.size(), 700U);
}

TEST(MemoryBroker, AnEventTooLargeToKeepIsCarriedAndLeavesNoHole) {
  World world({.retain_bytes = 10'000});
  world.subscribe(room("r"));
  world.publish(room("r"), "small");
  world.publish(room("r"), std::string(20'000, 'x'));
  ASSERT_EQ(world.sink.seen.size(), 2U);
  EXPECT_EQ(world.sink.seen[1].body.size(), 20'000U);
  const Page page = world.read(room("r"));
  EXPECT_TRUE(page.events.empty());
  EXPECT_EQ(page.first_seq, 3U);
  EXPECT_EQ(page.head_seq, 2U);
  world.publish(room("r"), "small");
  EXPECT_EQ(world.read(room("r")).events.size(), 1U);
}

TEST(MemoryBroker, KeepsNoMoreCapacityThanABodyNeeds) {
  World world;
  std::string body = "short";
  body.reserve(1'000'000);
  world.publish(room("r"), std::move(body));
  EXPECT_LT(world.broker().usage().bytes, 2000U);
  EXPECT_LT(world.read(room("r")).events[0].publication->body.capacity(), 100U);
}

TEST(MemoryBroker, AgesOfAllStreamsAreSweptInOneOrder) {
  World world({.retain_age_ms = 1000});
  for (int i = 0; i < 10; ++i) {
    world.publish(room(i % 3), "x");
    world.clock.advance_ms(100);
  }
  world.pass(250);  // at 1250: those of 0, 100 and 200 are too old
  EXPECT_EQ(world.broker().usage().events, 7U);
  EXPECT_EQ(world.read(room(0)).first_seq, 2U);
  world.pass(10'000);
  EXPECT_EQ(world.broker().usage().events, 0U);
}

TEST(MemoryBroker, PublishingAloneHoldsTheAgeWhenTheSweepFallsBehind) {
  World world({.retain_age_ms = 1000});
  for (int i = 0; i < 500; ++i) world.publish(room(i), "old");
  world.clock.advance_ms(2000);
  for (int i = 0; i < 250; ++i) world.publish(room("new"), "new");
  EXPECT_EQ(world.broker().usage().events, 250U);
}

TEST(MemoryBroker, ReadersHoldTheirEventsBeyondRetentionAndBeyondTheBroker) {
  World world({.retain_count = 3});
  for (int i = 0; i < 3; ++i) world.publish(room("r"), "body " + std::to_string(i));
  const Page page = world.read(room("r"));
  for (int i = 0; i < 3; ++i) world.publish(room("r"), "later");
  const Page later = world.read(room("r"));
  world.destroy_broker();
  ASSERT_EQ(page.events.size(), 3U);
  EXPECT_EQ(page.events[0].publication->body, "body 0");
  EXPECT_EQ(later.events[2].publication->body, "later");
}

// ---- retention by rules

TEST(MemoryBroker, EachRuleKeepsExactlyItsCount) {
  World world({.retain_count = 7, .retain_rules = rules({"room:a* count=3", "room:b count=1", "inbox:* count=5"})});
  for (int i = 0; i < 20; ++i) {
    for (const StreamKey& key : {room("a1"), room("a2"), room("b"), room("c"), inbox("a1")}) world.publish(key);
  }
  EXPECT_EQ(world.read(room("a1")).events.size(), 3U);
  EXPECT_EQ(world.read(room("a2")).events.size(), 3U);
  EXPECT_EQ(world.read(room("b")).events.size(), 1U);
  EXPECT_EQ(world.read(room("c")).events.size(), 7U);
  EXPECT_EQ(world.read(inbox("a1")).events.size(), 5U);
  EXPECT_EQ(world.broker().usage().events, 19U);
}

TEST(MemoryBroker, ALongAgeInFrontHoldsUpNoShortOne) {
  World world({.retain_age_ms = 1000, .retain_rules = rules({"room:long* age=1h", "room:short* age=100ms"})});
  world.publish(room("long"));
  world.publish(room("middle"));
  world.publish(room("short1"));
  world.clock.advance_ms(50);
  world.publish(room("short2"));
  world.pass(50);
  EXPECT_TRUE(world.read(room("short1")).events.empty());
  EXPECT_EQ(world.broker().usage().events, 3U);
  world.pass(50);
  EXPECT_TRUE(world.read(room("short2")).events.empty());
  world.pass(850);
  EXPECT_EQ(world.broker().usage().events, 1U);
  EXPECT_EQ(world.read(room("long")).events.size(), 1U);
  world.pass(3'600'000);
  EXPECT_EQ(world.broker().usage().events, 0U);
}

TEST(MemoryBroker, PublishingHoldsTheAgeOfItsOwnRule) {
  World world({.retain_age_ms = 1000, .retain_rules = rules({"room:short* age=100ms"})});
  for (int i = 0; i < 500; ++i) world.publish(room("short" + std::to_string(i)));
  world.publish(room("other"));
  world.clock.advance_ms(200);
  for (int i = 0; i < 250; ++i) world.publish(room("short"));
  EXPECT_EQ(world.broker().usage().events, 251U);
}

TEST(MemoryBroker, ARuleWithMuchToSweepDoesNotStarveTheOthers) {
  World world({.retain_age_ms = 1000, .retain_rules = rules({"room:many* count=1000000 age=1s bytes=1GiB"})});
  for (int i = 0; i < 50'000; ++i) world.publish(room("many"), "");
  for (int i = 0; i < 10; ++i) world.publish(room(i));
  world.pass(1000);
  world.pass(0);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(world.read(room(i)).events.empty());
  EXPECT_GT(world.broker().usage().events, 5'000U);  // what the bounded sweep has left
  world.pass(0);
  EXPECT_EQ(world.broker().usage().events, 0U);
}

TEST(MemoryBroker, PastItsTotalTheOldestEventGoesWhateverItsRule) {
  const auto retain_rules = rules({"room:a* age=1h", "room:b* age=2h", "inbox:* age=3h"});
  World world({.retain_rules = retain_rules, .total_bytes = 40'000});
  const std::vector<StreamKey> keys{inbox("u"), room("b"), room("other"), room("a")};
  for (int round = 0; round < 30; ++round) {
    for (const StreamKey& key : keys) {
      world.clock.advance_ms(1);
      world.publish(key, std::string(1000, 'x'));
    }
  }
  ASSERT_GT(world.broker().usage().evicted_events, 50U);
  // They took turns, so they end at the same place: some at one event, the first of them perhaps at the next.
  const std::uint64_t first = world.read(keys.back()).first_seq;
  EXPECT_GT(first, 10U);
  bool next = true;
  for (const StreamKey& key : keys) {
    const std::uint64_t seq = world.read(key).first_seq;
    EXPECT_TRUE(seq == first || (next && seq == first + 1)) << key.id.view() << " " << seq << " " << first;
    next = next && seq == first + 1;
  }
}

TEST(MemoryBroker, AStreamThatComesBackFallsUnderItsRuleAgain) {
  World world({.retain_rules = rules({"room:r count=2 age=1s"}), .idle_linger_ms = 0});
  for (int time = 0; time < 3; ++time) {
    for (int i = 0; i < 5; ++i) world.publish(room("r"));
    EXPECT_EQ(world.read(room("r")).events.size(), 2U);
    world.pass(1000);
    EXPECT_EQ(world.broker().usage().streams, 0U);
  }
}

// ---- forgetting streams

TEST(MemoryBroker, AStreamThatKeepsNothingIsDroppedAfterItsLingerAndComesBackWithAnotherEpoch) {
  World world({.retain_age_ms = 1000, .idle_linger_ms = 5000});
  const Position first = world.publish(room("r")).position;
  world.pass(1000);
  EXPECT_EQ(world.read(room("r")).head_seq, 1U);
  world.pass(4000);
  EXPECT_EQ(world.broker().usage().streams, 1U);
  world.pass(1000);
  EXPECT_EQ(world.broker().usage().streams, 0U);
  EXPECT_EQ(world.broker().usage().bytes, 0U);
  const Page page = world.read(room("r"));
  EXPECT_NE(page.epoch, first.epoch);
  EXPECT_NE(page.epoch, 0U);
  EXPECT_EQ(page.head_seq, 0U);
  EXPECT_EQ(world.publish(room("r")).position, (Position{page.epoch, 1}));
}

TEST(MemoryBroker, ASubscriberOrAKeyHoldsAStream) {
  World world({.retain_age_ms = 1000, .dedupe_window_ms = 60'000, .idle_linger_ms = 0});
  const Position subscribed = world.subscribe(room("subscribed"));
  world.publish(room("subscribed"));
  const Position guarded = world.publish(room("guarded"), "x", "k").position;
  world.publish(room("neither"));
  world.pass(30'000);
  EXPECT_EQ(world.broker().usage().streams, 2U);
  EXPECT_TRUE(world.publish(room("guarded"), "x", "k").duplicate);
  EXPECT_EQ(world.read(room("guarded")).epoch, guarded.epoch);
  world.pass(40'000);
  EXPECT_EQ(world.broker().usage().streams, 1U);
  EXPECT_NE(world.read(room("guarded")).epoch, guarded.epoch);
  EXPECT_EQ(world.publish(room("subscribed")).position, (Position{subscribed.epoch, 2}));
  world.broker().unsubscribe(room("subscribed"));
  world.pass(1000);
  EXPECT_EQ(world.broker().usage().streams, 0U);
}

TEST(MemoryBroker, PublishingToAStreamThatKeepsNothingStartsItsLingerAnew) {
  World world({.retain_count = 0, .idle_linger_ms = 5000});
  const Position first = world.publish(room("r")).position;
  for (std::uint64_t seq = 2; seq < 10; ++seq) {
    world.pass(4000);
    EXPECT_EQ(world.publish(room("r")).position, (Position{first.epoch, seq}));
  }
}

TEST(MemoryBroker, AStreamThatNeverHadAnEventComesBackWithTheEpochItHad) {
  World world;
  const Position first = world.subscribe(room("r"));
  world.broker().unsubscribe(room("r"));
  EXPECT_EQ(world.broker().usage().subscriptions, 0U);
  EXPECT_EQ(world.read(room("r")).epoch, first.epoch);
  EXPECT_EQ(world.subscribe(room("r")), first);
}

TEST(MemoryBroker, ASubscriptionKeepsItsEpochWhenOthersAreDropped) {
  World world({.retain_count = 0, .idle_linger_ms = 0});
  const Position at = world.subscribe(room("quiet"));
  for (int i = 0; i < 10'000; ++i) world.publish(room(i));  // enough to meet every group of epochs
  world.pass(1);
  ASSERT_EQ(world.broker().usage().dropped_streams, 10'000U);
  EXPECT_EQ(world.publish(room("quiet")).position, (Position{at.epoch, 1}));
  EXPECT_EQ(world.sink.seen.size(), 1U);
}

TEST(MemoryBroker, EpochsDifferBetweenInstances) {
  World one, two;
  EXPECT_NE(one.subscribe(room("r")).epoch, two.subscribe(room("r")).epoch);
}

TEST(MemoryBroker, AnIdleSubscriptionMakesNoStream) {
  World world;
  for (int i = 0; i < 1000; ++i) world.subscribe(room(i));
  const MemoryBroker::Usage usage = world.broker().usage();
  EXPECT_EQ(usage.subscriptions, 1000U);
  EXPECT_EQ(usage.streams, 0U);
  EXPECT_EQ(usage.bytes, 0U);
}

// ---- the bound of all streams

TEST(MemoryBroker, PastItsTotalTheOldestEventsOfAllStreamsGoFirst) {
  constexpr std::size_t kTotal = 200'000;
  World world({.total_bytes = kTotal});
  world.publish(room("old"), std::string(1000, 'o'));
  for (int i = 0; i < 1000; ++i) {
    world.publish(room(i % 5), std::string(1000, 'x'));
    ASSERT_LE(world.broker().usage().bytes, kTotal);
  }
  EXPECT_GT(world.broker().usage().bytes, kTotal * 9 / 10);
  EXPECT_GT(world.broker().usage().evicted_events, 500U);
  EXPECT_TRUE(world.read(room("old")).events.empty());
  for (int i = 0; i < 5; ++i) {
    const Page page = world.read(room(i));
    EXPECT_EQ(page.head_seq, 200U);
    EXPECT_EQ(page.events.size(), 200 - page.first_seq + 1);
    EXPECT_GT(page.events.size(), 20U);
  }
}

TEST(MemoryBroker, ASubscribedStreamKeepsItsPlaceWhenItsEventsAreEvicted) {
  World world({.total_bytes = 50'000});
  const Position at = world.subscribe(room("r"));
  world.publish(room("r"));
  for (int i = 0; i < 500; ++i) world.publish(room(i), std::string(500, 'x'));
  const Page page = world.read(room("r"));
  EXPECT_EQ(page.first_seq, 2U);
  EXPECT_EQ(page.epoch, at.epoch);
  EXPECT_EQ(world.publish(room("r")).position, (Position{at.epoch, 2}));
}

TEST(MemoryBroker, StreamsThatKeepNothingGoBeforeEvents) {
  World world({.retain_bytes = 2000, .total_bytes = 100'000, .idle_linger_ms = 1'000'000});
  world.publish(room("precious"), "x");
  for (int i = 0; i < 5000; ++i) world.publish(room(i), std::string(5000, 'x'));  // too large to be kept
  const MemoryBroker::Usage usage = world.broker().usage();
  EXPECT_LE(usage.bytes, 100'000U);
  EXPECT_GT(usage.streams, 100U);
  EXPECT_EQ(usage.evicted_events, 0U);
  EXPECT_EQ(world.read(room("precious")).events.size(), 1U);
}

TEST(MemoryBroker, ATotalOfNothingStillCarries) {
  World world({.total_bytes = 0});
  world.subscribe(room("r"));
  for (std::uint64_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(world.publish(room("r"), "x", "k" + std::to_string(i)).position.seq, i);
    EXPECT_EQ(world.publish(room("unheard")).position.seq, 1U);  // dropped at once, so it starts again
  }
  EXPECT_EQ(world.sink.seen.size(), 3U);
  EXPECT_EQ(world.broker().usage().events, 0U);
  EXPECT_EQ(world.broker().usage().dedupe_keys, 0U);
}

// ---- dedupe keys

TEST(MemoryBroker, ForgetsTheOldestKeyOfAStreamPastItsMaximum) {
  World world({.dedupe_max = 3});
  for (int i = 0; i < 4; ++i) world.publish(room("r"), "x", "k" + std::to_string(i));
  EXPECT_TRUE(world.publish(room("r"), "x", "k1").duplicate);
  EXPECT_TRUE(world.publish(room("r"), "x", "k3").duplicate);
  EXPECT_FALSE(world.publish(room("r"), "x", "k0").duplicate);
  EXPECT_EQ(world.broker().usage().dedupe_keys, 3U);
}

TEST(MemoryBroker, AMaximumOrAWindowOfZeroMakesNoDuplicates) {
  for (const MemoryBrokerLimits& limits : {MemoryBrokerLimits{.dedupe_max = 0}, {.dedupe_window_ms = 0}}) {
    World world(limits);
    EXPECT_FALSE(world.publish(room("r"), "x", "k").duplicate);
    EXPECT_FALSE(world.publish(room("r"), "x", "k").duplicate);
    EXPECT_EQ(world.broker().usage().dedupe_keys, 0U);
  }
}

TEST(MemoryBroker, KeysTakeAtMostAQuarterOfTheTotalAndLeaveTheEvents) {
  constexpr std::size_t kTotal = 400'000;
  World world({.retain_bytes = 50'000, .total_bytes = kTotal, .dedupe_max = 1'000'000});
  for (int i = 0; i < 100; ++i) world.publish(room("precious"), std::string(200, 'x'));
  for (int i = 0; i < 10'000; ++i) world.publish(room("flood"), std::string(), "k" + std::to_string(i));
  EXPECT_LT(world.broker().usage().dedupe_keys, 1000U);
  EXPECT_GT(world.broker().usage().dedupe_keys, 100U);
  EXPECT_EQ(world.read(room("precious")).events.size(), 100U);
}

TEST(MemoryBroker, SweepForgetsKeysPastTheWindow) {
  World world({.dedupe_window_ms = 1000});
  for (int i = 0; i < 10; ++i) {
    world.publish(room(i), "x", "a key that is too long to be held inline");
    world.clock.advance_ms(100);
  }
  world.pass(500);
  EXPECT_EQ(world.broker().usage().dedupe_keys, 4U);
  world.pass(1000);
  EXPECT_EQ(world.broker().usage().dedupe_keys, 0U);
}

// ---- against chance

// Whatever is done in whatever order: a position never names two different events, the sink sees a subscription's
// events without a gap, a page is the unbroken end of its stream, and the bounds hold.
TEST(MemoryBroker, HoldsItsPromisesUnderRandomUse) {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const MemoryBrokerLimits limits{
        .retain_count = static_cast<std::size_t>(pick(0, 20)),
        .retain_age_ms = pick(100, 3000),
        .retain_bytes = 5000,
        .retain_rules = rules({"room:room1* age=500ms", "room:room2 count=2", "room:*3 age=2s bytes=1000"}),
        .total_bytes = static_cast<std::size_t>(pick(10'000, 60'000)),
        .dedupe_window_ms = pick(100, 3000),
        .dedupe_max = static_cast<std::size_t>(pick(1, 8)),
        .idle_linger_ms = pick(0, 2000)};
    World world(limits);
    constexpr int kStreams = 30;
    std::map<std::tuple<int, std::uint64_t, std::uint64_t>, std::string> named;
    std::map<int, Position> subscribed;  // and what the sink must have seen up to
    int bodies = 0;
    std::size_t checked = 0;

    for (int step = 0; step < 20'000; ++step) {
      const int number = pick(0, pick(0, 1) == 0 ? 3 : kStreams - 1);
      const StreamKey key = room(number);
      switch (pick(0, 7)) {
        case 0:
          if (!subscribed.contains(number)) {
            subscribed[number] = world.subscribe(key);
          } else {
            world.broker().unsubscribe(key);
            subscribed.erase(number);
          }
          break;
        case 1:
          world.pass(pick(0, 400));
          break;
        case 2: {
          const Page page = world.read(key);
          ASSERT_EQ(page.first_seq + page.events.size(), page.head_seq + 1);
          ASSERT_LE(page.events.size(), number == 2 ? 2 : limits.retain_count);
          for (std::size_t i = 0; i < page.events.size(); ++i) {
            const StoredEvent& event = page.events[i];
            ASSERT_EQ(event.seq, page.first_seq + i);
            ASSERT_EQ((named[{number, page.epoch, event.seq}]), event.publication->body);
          }
          break;
        }
        default: {
          const std::string body = std::string(static_cast<std::size_t>(pick(0, 400)), 'x') + std::to_string(++bodies);
          const Published published =
              world.publish(key, body, pick(0, 1) == 0 ? "k" + std::to_string(pick(0, 9)) : std::string());
          std::string& name = named[{number, published.position.epoch, published.position.seq}];
          ASSERT_EQ(name.empty(), !published.duplicate);
          if (!published.duplicate) {
            name = body;
            const auto it = subscribed.find(number);
            ASSERT_EQ(world.sink.seen.size(), checked + (it != subscribed.end() ? 1 : 0));
            if (it != subscribed.end()) {
              ++checked;
              const auto& seen = world.sink.seen.back();
              ASSERT_EQ(seen.epoch, it->second.epoch);
              ASSERT_EQ(seen.seq, ++it->second.seq);
              ASSERT_EQ(seen.body, body);
            }
          }
          ASSERT_LE(world.broker().usage().bytes, std::max<std::size_t>(limits.total_bytes, kStreams * 400));
        }
      }
      ASSERT_EQ(world.broker().usage().subscriptions, subscribed.size());
    }
    EXPECT_GT(world.broker().usage().dropped_streams, 10U);
    for (const auto& [number, at] : subscribed) world.broker().unsubscribe(room(number));
    for (int i = 0; i < 3; ++i) world.pass(10'000);
    EXPECT_EQ(world.broker().usage().bytes, 0U);
    EXPECT_EQ(world.broker().usage().streams, 0U);
    EXPECT_EQ(world.broker().usage().events, 0U);
  }
}

}  // namespace
}  // namespace hubbub::broker
