// What every Broker promises (hubbub/broker/broker.hpp), run against each backend. A backend enters with a class like
// MemoryBackend and a name in `Backends`; what only one of them promises is tested beside it.
#include "hubbub/broker/broker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/memory_broker.hpp"
#include "hubbub/broker/redis/redis_backend.hpp"
#include "hubbub/broker/retention.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker {
namespace {

struct ContractLimits {
  std::size_t retain_count = 100;
  std::int64_t retain_age_ms = 3'600'000;
  std::size_t retain_bytes = 1024 * 1024;
  std::vector<RetentionRule> retain_rules{};
  std::int64_t dedupe_window_ms = 60'000;
};

class MemoryBackend {
 public:
  static constexpr int kLongChain = 100'000;

  MemoryBackend(const ContractLimits& limits, BrokerSink& sink)
      : broker_(clock_,
                {.retain_count = limits.retain_count,
                 .retain_age_ms = limits.retain_age_ms,
                 .retain_bytes = limits.retain_bytes,
                 .retain_rules = limits.retain_rules,
                 .dedupe_window_ms = limits.dedupe_window_ms},
                sink) {}
  Broker& broker() { return broker_; }
  std::int64_t unix_ms() const { return clock_.unix_ms(); }
  void pass_time(std::int64_t ms) { clock_.advance_ms(ms); }
  /// Returns when everything asked so far has been answered.
  void settle() {}

 private:
  base::ManualClock clock_;
  MemoryBroker broker_;
};

/// Against a redis-server that all tests of this process share; each begins with nothing in it.
class RedisBackend {
 public:
  static constexpr int kLongChain = 2'000;  // each waits for its answer

  RedisBackend(const ContractLimits& limits, BrokerSink& sink) : sink_(sink) {
    server().call({"FLUSHALL"});
    redis::RedisBackendOptions options;
    options.client.endpoints = {server().endpoint()};
    options.limits = {.retain_count = limits.retain_count,
                      .retain_age_ms = limits.retain_age_ms,
                      .retain_bytes = limits.retain_bytes,
                      .retain_rules = limits.retain_rules,
                      .dedupe_window_ms = limits.dedupe_window_ms};
    backend_.emplace(io_, clock_, node_, 0, options, sink_, nullptr);
    bool subscribed = false;
    broker().subscribe(barrier_, [&](const base::Result<Position>& position) { subscribed = position.has_value(); });
    run_until([&] { return subscribed; });
  }
  Broker& broker() { return backend_->broker(); }
  std::int64_t unix_ms() const { return clock_.unix_ms(); }
  void pass_time(std::int64_t ms) { clock_.advance_ms(ms); }
  /// An event that is published now comes behind all that was published before; when nothing has been asked of Redis
  /// while it was on its way, all has been answered.
  void settle() {
    for (;;) {
      const std::uint64_t before = backend_->client().usage().commands;
      bool answered = false;
      sink_.passed = false;
      broker().publish(barrier_, {"message", "", "", clock_.unix_ms()},
                       [&](const base::Result<Published>&) { answered = true; });
      run_until([&] { return answered && sink_.passed; });
      if (backend_->client().usage().commands == before + 1) return;
    }
  }

 private:
  struct Sink final : BrokerSink {
    explicit Sink(BrokerSink& to) : sink(to) {}
    void on_event(const StreamKey& key, std::uint64_t epoch, const StoredEvent& event) override {
      if (key.id.view() == "the barrier of the tests") {
        passed = true;
      } else {
        sink.on_event(key, epoch, event);
      }
    }
    BrokerSink& sink;
    bool passed = false;
  };
  static test::RedisServer& server() {
    static test::RedisServer the_server;
    return the_server;
  }
  template <class F>
  void run_until(F holds) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20) * test::slowness();
    while (!holds()) {
      io_.run_one_for(std::chrono::milliseconds(100));
      if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("Redis did not answer in time");
    }
  }

  boost::asio::io_context io_{1};
  base::ManualClock clock_;
  redis::Node node_;
  Sink sink_;
  const StreamKey barrier_{StreamKind::kRoom, base::SharedString("the barrier of the tests")};
  std::optional<redis::RedisBackend> backend_;
};

StreamKey room(std::string_view id) { return {StreamKind::kRoom, base::SharedString(id)}; }
StreamKey inbox(std::string_view id) { return {StreamKind::kInbox, base::SharedString(id)}; }

std::vector<RetentionRule> rules(std::initializer_list<std::string_view> texts) {
  std::vector<RetentionRule> out;
  for (const std::string_view text : texts) out.push_back(std::get<RetentionRule>(parse_retention_rule(text)));
  return out;
}

struct Seen {
  StreamKey key;
  std::uint64_t epoch;
  std::uint64_t seq;
  std::uint64_t id_ms;
  std::string type;
  std::string body;
};

template <class Backend>
class BrokerContract : public testing::Test, public BrokerSink {
 public:
  void on_event(const StreamKey& key, std::uint64_t epoch, const StoredEvent& event) override {
    seen.push_back({key, epoch, event.seq, event.id_ms, event.publication->type, event.publication->body});
    trace.push_back("event " + event.publication->body);
    if (hook) hook(seen.size());
  }

  void start(const ContractLimits& limits = {}) { backend_.emplace(limits, *this); }
  Backend& backend() {
    if (!backend_) start();
    return *backend_;
  }
  Broker& broker() { return backend().broker(); }

  Publication publication(std::string body, std::string dedupe_key = {}) {
    return {"message", std::move(body), std::move(dedupe_key), backend().unix_ms()};
  }
  /// The completion, or nullopt when it did not come exactly once and well.
  template <class T, class Call>
  std::optional<T> answer(Call call) {
    std::optional<T> result;
    int calls = 0;
    call([&](base::Result<T> got) {
      ++calls;
      if (got) result = std::move(*got);
    });
    backend().settle();
    EXPECT_EQ(calls, 1);
    EXPECT_TRUE(result.has_value());
    return result;
  }
  Published publish(const StreamKey& key, std::string body, std::string dedupe_key = {}) {
    return publish(key, publication(std::move(body), std::move(dedupe_key)));
  }
  Published publish(const StreamKey& key, Publication what) {
    return answer<Published>([&](auto done) { broker().publish(key, std::move(what), done); }).value_or(Published{});
  }
  void publish_many(const StreamKey& key, int count) {
    for (int i = 0; i < count; ++i) publish(key, "b" + std::to_string(i + 1));
  }
  Position subscribe(const StreamKey& key) {
    return answer<Position>([&](auto done) { broker().subscribe(key, done); }).value_or(Position{});
  }
  void unsubscribe(const StreamKey& key) {
    broker().unsubscribe(key);
    backend().settle();
  }
  Page read(const StreamKey& key, const ReadRange& range) {
    return answer<Page>([&](auto done) { broker().read(key, range, done); }).value_or(Page{});
  }
  Page since(const StreamKey& key, std::uint64_t seq, std::size_t limit = 1000, std::size_t max_bytes = SIZE_MAX) {
    return read(key, {ReadRange::From::kSince, seq, limit, max_bytes});
  }
  Page before(const StreamKey& key, std::uint64_t seq, std::size_t limit = 1000, std::size_t max_bytes = SIZE_MAX) {
    return read(key, {ReadRange::From::kBefore, seq, limit, max_bytes});
  }
  Page newest(const StreamKey& key, std::size_t limit = 1000, std::size_t max_bytes = SIZE_MAX) {
    return read(key, {ReadRange::From::kNewest, 0, limit, max_bytes});
  }
  static std::vector<std::uint64_t> seqs(const Page& page) {
    std::vector<std::uint64_t> out;
    for (const StoredEvent& event : page.events) out.push_back(event.seq);
    return out;
  }
  std::vector<std::uint64_t> seen_seqs() const {
    std::vector<std::uint64_t> out;
    for (const Seen& event : seen) out.push_back(event.seq);
    return out;
  }

  std::vector<Seen> seen;
  std::vector<std::string> trace;
  std::function<void(std::size_t)> hook;  // called in on_event, with the number of events so far

 private:
  std::optional<Backend> backend_;
};

using Seqs = std::vector<std::uint64_t>;
using Trace = std::vector<std::string>;

struct BackendNames {
  template <class Backend>
  static std::string GetName(int) {
    return std::is_same_v<Backend, MemoryBackend> ? "Memory" : "Redis";
  }
};
using Backends = testing::Types<MemoryBackend, RedisBackend>;
TYPED_TEST_SUITE(BrokerContract, Backends, BackendNames);

// ---- what is not kept, and what is forgotten

TYPED_TEST(BrokerContract, CarriesWhatIsNotKeptToSubscribersAndKeepsNothing) {
  const StreamKey key = room("a");
  this->publish(key, "one");
  const Position position = this->subscribe(key);
  Publication publication = this->publication("two", "key");
  publication.keep = false;
  const Published first = this->publish(key, publication);
  const Published second = this->publish(key, publication);
  this->publish(key, "three");
  EXPECT_EQ(first.position, (Position{position.epoch, 0}));
  EXPECT_EQ(first.id_ms, 0U);
  EXPECT_FALSE(second.duplicate);  // its key is not looked at
  EXPECT_EQ(this->seen_seqs(), (Seqs{0, 0, 2}));
  EXPECT_EQ(this->trace, (Trace{"event two", "event two", "event three"}));
  EXPECT_EQ(this->seqs(this->since(key, 0)), (Seqs{1, 2}));
  EXPECT_FALSE(this->publish(key, "four", "key").duplicate);
}

TYPED_TEST(BrokerContract, MakesNoStreamOfWhatIsNotKept) {
  const StreamKey key = room("a");
  Publication publication = this->publication("one");
  publication.keep = false;
  EXPECT_EQ(this->publish(key, publication).position.seq, 0U);
  EXPECT_TRUE(this->seen.empty());  // nobody is there
  this->subscribe(key);
  this->publish(key, publication);
  EXPECT_EQ(this->trace, (Trace{"event one"}));
  EXPECT_EQ(this->since(key, 0).head_seq, 0U);
  EXPECT_EQ(this->publish(key, "two").position.seq, 1U);
}

TYPED_TEST(BrokerContract, KeepsWhomAnEventIsNotFor) {
  const StreamKey key = room("a");
  Publication publication = this->publication("one");
  publication.exclude_user = base::SharedString("ann");
  this->publish(key, publication);
  EXPECT_EQ(this->since(key, 0).events.at(0).publication->exclude_user.view(), "ann");
}

TYPED_TEST(BrokerContract, EraseForgetsEventsAndKeysAndCountsAnew) {
  const StreamKey key = room("a"), other = room("b");
  const Published before = this->publish(key, "one", "key");
  this->publish_many(key, 3);
  this->publish(other, "other");
  const auto position =
      this->template answer<Position>([&](auto done) { this->broker().erase(key, done); }).value_or(Position{});
  EXPECT_NE(position.epoch, before.position.epoch);
  EXPECT_EQ(position.seq, 0U);
  const Page page = this->since(key, 0);
  EXPECT_EQ(page.epoch, position.epoch);
  EXPECT_EQ(page.head_seq, 0U);
  EXPECT_EQ(page.first_seq, 1U);
  EXPECT_TRUE(page.events.empty());
  const Published after = this->publish(key, "again", "key");
  EXPECT_FALSE(after.duplicate);
  EXPECT_EQ(after.position, (Position{position.epoch, 1}));
  EXPECT_EQ(this->seqs(this->since(other, 0)), (Seqs{1}));
}

TYPED_TEST(BrokerContract, EraseLeavesTheSubscription) {
  const StreamKey key = room("a");
  this->subscribe(key);
  this->publish(key, "one");
  const auto position =
      this->template answer<Position>([&](auto done) { this->broker().erase(key, done); }).value_or(Position{});
  this->publish(key, "two");
  ASSERT_EQ(this->seen.size(), 2U);
  EXPECT_EQ(this->seen[1].epoch, position.epoch);
  EXPECT_EQ(this->seen[1].seq, 1U);
  EXPECT_NE(this->seen[0].epoch, position.epoch);
  this->unsubscribe(key);
  this->publish(key, "three");
  EXPECT_EQ(this->seen.size(), 2U);
}

TYPED_TEST(BrokerContract, EraseOfWhatThereIsNotIsNoFailure) {
  const StreamKey key = room("a");
  this->template answer<Position>([&](auto done) { this->broker().erase(key, done); });
  this->subscribe(key);
  const auto position =
      this->template answer<Position>([&](auto done) { this->broker().erase(key, done); }).value_or(Position{});
  EXPECT_EQ(this->publish(key, "one").position, (Position{position.epoch, 1}));
  EXPECT_EQ(this->seen_seqs(), (Seqs{1}));
}

TYPED_TEST(BrokerContract, EraseFromWithinACallbackDropsWhatWaitsForIt) {
  const StreamKey key = room("a");
  this->subscribe(key);
  this->hook = [&](std::size_t count) {
    if (count != 1) return;
    this->broker().publish(key, this->publication("two"), [](const base::Result<Published>&) {});
    this->broker().erase(key, [](const base::Result<Position>&) {});
  };
  this->publish(key, "one");
  EXPECT_EQ(this->trace, (Trace{"event one"}));
  EXPECT_EQ(this->publish(key, "three").position.seq, 1U);
}

// ---- publish

TYPED_TEST(BrokerContract, CountsEachStreamFromOneWithoutGaps) {
  const StreamKey a = room("a"), b = room("b");
  for (std::uint64_t i = 1; i <= 20; ++i) {
    EXPECT_EQ(this->publish(a, "x").position.seq, i);
    if (i % 2 == 0) {
      EXPECT_EQ(this->publish(b, "y").position.seq, i / 2);
    }
  }
}

TYPED_TEST(BrokerContract, OrdersPublishesAsCalledAndTellsTheEventBeforeTheCompletion) {
  const StreamKey key = room("r");
  this->subscribe(key);
  for (int i = 1; i <= 50; ++i) {  // without waiting for one another
    this->broker().publish(key, this->publication(std::to_string(i)), [this](base::Result<Published> result) {
      this->trace.push_back("done " + std::to_string(result->position.seq));
    });
  }
  this->backend().settle();
  for (int i = 1; i <= 50; ++i) {
    const auto event = std::find(this->trace.begin(), this->trace.end(), "event " + std::to_string(i));
    const auto done = std::find(this->trace.begin(), this->trace.end(), "done " + std::to_string(i));
    ASSERT_NE(done, this->trace.end());
    EXPECT_LT(event, done);
  }
  EXPECT_EQ(this->trace.size(), 100U);
  for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(this->seen[i].seq, i + 1);
}

TYPED_TEST(BrokerContract, CarriesTypeAndBodyByteForByteWithOnePosition) {
  std::string body;
  for (int byte = 1; byte < 256; ++byte) body += static_cast<char>(byte);
  const StreamKey key = inbox("u");
  const Position at = this->subscribe(key);
  const Published published = this->publish(key, {"direct_message", body, "", 1'700'000'000'123});
  ASSERT_EQ(this->seen.size(), 1U);
  const Seen& event = this->seen.front();
  EXPECT_EQ(event.key, key);
  EXPECT_EQ(event.type, "direct_message");
  EXPECT_EQ(event.body, body);
  EXPECT_EQ(event.epoch, at.epoch);
  EXPECT_EQ(event.epoch, published.position.epoch);
  EXPECT_EQ(event.seq, published.position.seq);
  EXPECT_EQ(event.id_ms, 1'700'000'000'123U);
  EXPECT_EQ(event.id_ms, published.id_ms);
  EXPECT_FALSE(published.duplicate);

  const Page page = this->newest(key);
  ASSERT_EQ(page.events.size(), 1U);
  EXPECT_EQ(page.epoch, event.epoch);
  EXPECT_EQ(page.events[0].id_ms, event.id_ms);
  EXPECT_EQ(page.events[0].publication->type, "direct_message");
  EXPECT_EQ(page.events[0].publication->body, body);
}

TYPED_TEST(BrokerContract, CarriesAnEmptyAndALargeBody) {
  const StreamKey key = room("r");
  const std::string large(300'000, 'x');
  this->publish(key, "");
  this->publish(key, large);
  const Page page = this->newest(key);
  ASSERT_EQ(page.events.size(), 2U);
  EXPECT_EQ(page.events[0].publication->body, "");
  EXPECT_EQ(page.events[1].publication->body, large);
}

TYPED_TEST(BrokerContract, TheTimeInAnIdNeverGoesBackAlongAStream) {
  const StreamKey key = room("r"), other = room("other");
  EXPECT_EQ(this->publish(key, {"message", "1", "", 2000}).id_ms, 2000U);
  EXPECT_EQ(this->publish(key, {"message", "2", "", 1000}).id_ms, 2000U);
  EXPECT_EQ(this->publish(other, {"message", "3", "", 1000}).id_ms, 1000U);
  EXPECT_EQ(this->publish(key, {"message", "4", "", 2001}).id_ms, 2001U);
}

// ---- duplicates

TYPED_TEST(BrokerContract, AnswersADuplicateWithTheFirstPositionAndStoresNothing) {
  const StreamKey key = room("r");
  this->subscribe(key);
  this->publish(key, "0");
  const Published first = this->publish(key, "1", "k");
  this->publish(key, "2");
  this->backend().pass_time(1000);
  const Published again = this->publish(key, "other body", "k");
  EXPECT_FALSE(first.duplicate);
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(again.id_ms, first.id_ms);
  EXPECT_EQ(this->seen_seqs(), (Seqs{1, 2, 3}));
  EXPECT_EQ(this->publish(key, "3").position.seq, 4U);
}

TYPED_TEST(BrokerContract, AKeyGuardsOnlyItsOwnStream) {
  EXPECT_FALSE(this->publish(room("a"), "1", "k").duplicate);
  EXPECT_FALSE(this->publish(room("b"), "1", "k").duplicate);
  EXPECT_FALSE(this->publish(inbox("a"), "1", "k").duplicate);
  EXPECT_FALSE(this->publish(room("a"), "1", "k2").duplicate);
  EXPECT_TRUE(this->publish(room("a"), "1", "k").duplicate);
}

TYPED_TEST(BrokerContract, WithoutAKeyNothingIsADuplicate) {
  for (std::uint64_t i = 1; i <= 3; ++i) {
    const Published published = this->publish(room("r"), "same");
    EXPECT_FALSE(published.duplicate);
    EXPECT_EQ(published.position.seq, i);
  }
}

TYPED_TEST(BrokerContract, AKeyIsForgottenAfterTheWindowWhichARepeatDoesNotProlong) {
  this->start({.dedupe_window_ms = 1000});
  const StreamKey key = room("r");
  this->publish(key, "1", "k");
  this->backend().pass_time(900);
  EXPECT_TRUE(this->publish(key, "2", "k").duplicate);
  this->backend().pass_time(200);
  const Published later = this->publish(key, "3", "k");
  EXPECT_FALSE(later.duplicate);
  EXPECT_EQ(later.position.seq, 2U);
  EXPECT_TRUE(this->publish(key, "4", "k").duplicate);
}

TYPED_TEST(BrokerContract, AKeyOutlivesItsEvent) {
  this->start({.retain_count = 2});
  const StreamKey key = room("r");
  const Published first = this->publish(key, "1", "k");
  this->publish_many(key, 300);
  ASSERT_GT(this->newest(key).first_seq, 1U);
  const Published again = this->publish(key, "1", "k");
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.position, first.position);
}

TYPED_TEST(BrokerContract, KeysAreOpaqueBytes) {
  const StreamKey key = room("r");
  const std::vector<std::string> keys{"a", "a:b", "a b", "\xc3\xbc", "\x01\xff", "A", std::string(128, 'k'),
                                      "*", "{a}"};
  for (const auto& k : keys) EXPECT_FALSE(this->publish(key, "x", k).duplicate) << k;
  for (const auto& k : keys) EXPECT_TRUE(this->publish(key, "x", k).duplicate) << k;
}

// ---- names

TYPED_TEST(BrokerContract, IdsAreOpaqueBytesAndEachNamesAStreamOfItsOwn) {
  std::vector<StreamKey> keys;
  for (const std::string& id :
       {std::string("a"), std::string("A"), std::string("a:b"), std::string("a: b"), std::string("a b"),
        std::string(" a"), std::string("room:a"), std::string("{a}"), std::string("*"), std::string("a*"),
        std::string("\xc3\xbc\xf0\x9f\x98\x80"), std::string("\x01\x7f\xff\xfe"), std::string("\r\n"),
        std::string("\"'\\"), std::string(256, 'x'), std::string(255, 'x') + "y"}) {
    keys.push_back(room(id));
    keys.push_back(inbox(id));
  }
  for (const StreamKey& key : keys) this->subscribe(key);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(this->publish(keys[i], std::to_string(i)).position.seq, 1U) << keys[i].id.view();
    ASSERT_EQ(this->seen.size(), i + 1);
    EXPECT_EQ(this->seen.back().key, keys[i]);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Page page = this->newest(keys[i]);
    ASSERT_EQ(page.events.size(), 1U);
    EXPECT_EQ(page.events[0].publication->body, std::to_string(i));
  }
}

TYPED_TEST(BrokerContract, ARoomAndAnInboxOfTheSameIdAreIndependent) {
  this->subscribe(room("x"));
  this->publish(inbox("x"), "i1");
  this->publish(inbox("x"), "i2");
  this->publish(room("x"), "r1");
  ASSERT_EQ(this->seen.size(), 1U);
  EXPECT_EQ(this->seen[0].body, "r1");
  EXPECT_EQ(this->newest(inbox("x")).head_seq, 2U);
  EXPECT_EQ(this->newest(room("x")).head_seq, 1U);
  this->subscribe(inbox("x"));
  this->unsubscribe(room("x"));
  this->publish(inbox("x"), "i3");
  this->publish(room("x"), "r2");
  ASSERT_EQ(this->seen.size(), 2U);
  EXPECT_EQ(this->seen[1].body, "i3");
}

// ---- subscribe

TYPED_TEST(BrokerContract, ASubscriptionStartsAfterThePositionItIsTold) {
  const StreamKey key = room("r");
  this->publish_many(key, 3);
  EXPECT_TRUE(this->seen.empty());
  const Position at = this->subscribe(key);
  EXPECT_EQ(at.seq, 3U);
  EXPECT_NE(at.epoch, 0U);
  EXPECT_TRUE(this->seen.empty());
  this->publish_many(key, 2);
  EXPECT_EQ(this->seen_seqs(), (Seqs{4, 5}));
  EXPECT_EQ(this->seen[0].epoch, at.epoch);
}

TYPED_TEST(BrokerContract, AStreamThatNeverHadAnEventStartsAtZeroInTheEpochItKeeps) {
  const Position at = this->subscribe(room("new"));
  EXPECT_EQ(at.seq, 0U);
  EXPECT_NE(at.epoch, 0U);
  EXPECT_EQ(this->newest(room("new")).epoch, at.epoch);
  EXPECT_EQ(this->publish(room("new"), "1").position, (Position{at.epoch, 1}));
  EXPECT_EQ(this->seen_seqs(), Seqs{1});
}

TYPED_TEST(BrokerContract, NothingComesAfterUnsubscribeAndTheMissedIsReadLater) {
  const StreamKey key = room("r");
  const Position first = this->subscribe(key);
  this->publish_many(key, 2);
  this->unsubscribe(key);
  this->publish_many(key, 3);
  EXPECT_EQ(this->seen_seqs(), (Seqs{1, 2}));
  const Position at = this->subscribe(key);
  EXPECT_EQ(at, (Position{first.epoch, 5}));
  EXPECT_EQ(this->seqs(this->since(key, 2)), (Seqs{3, 4, 5}));
  this->publish_many(key, 1);
  EXPECT_EQ(this->seen_seqs(), (Seqs{1, 2, 6}));
}

TYPED_TEST(BrokerContract, UnsubscribingWhatIsNotSubscribedIsNothing) {
  this->unsubscribe(room("never"));
  this->publish(room("r"), "1");
  this->unsubscribe(room("r"));
  this->subscribe(room("r"));
  this->unsubscribe(room("r"));
  this->unsubscribe(room("r"));
  EXPECT_EQ(this->publish(room("r"), "2").position.seq, 2U);
  EXPECT_TRUE(this->seen.empty());
}

TYPED_TEST(BrokerContract, SweepingLosesNoSubscription) {
  const StreamKey quiet = room("quiet"), used = room("used");
  const Position quiet_at = this->subscribe(quiet);
  const Position used_at = this->subscribe(used);
  this->publish(used, "1");
  for (int hour = 0; hour < 48; ++hour) {
    this->backend().pass_time(3'600'000);
    this->broker().sweep();
  }
  EXPECT_EQ(this->publish(quiet, "1").position, (Position{quiet_at.epoch, 1}));
  EXPECT_EQ(this->publish(used, "2").position, (Position{used_at.epoch, 2}));
  EXPECT_EQ(this->seen.size(), 3U);
}

// ---- read

TYPED_TEST(BrokerContract, ReadingAStreamThatNeverWasGivesAnEmptyPage) {
  for (const auto from : {ReadRange::From::kSince, ReadRange::From::kBefore, ReadRange::From::kNewest}) {
    const Page page = this->read(room("none"), {from, 0, 10});
    EXPECT_NE(page.epoch, 0U);
    EXPECT_EQ(page.first_seq, 1U);
    EXPECT_EQ(page.head_seq, 0U);
    EXPECT_FALSE(page.more);
    EXPECT_TRUE(page.events.empty());
  }
}

TYPED_TEST(BrokerContract, ReadsForwardPageByPageToTheEnd) {
  const StreamKey key = room("r");
  this->publish_many(key, 10);
  Seqs all;
  for (std::uint64_t at = 0;;) {
    const Page page = this->since(key, at, 4);
    EXPECT_EQ(page.first_seq, 1U);
    EXPECT_EQ(page.head_seq, 10U);
    for (const std::uint64_t seq : this->seqs(page)) all.push_back(seq);
    EXPECT_EQ(page.more, all.back() != 10);
    if (!page.more) break;
    at = all.back();
  }
  EXPECT_EQ(all, (Seqs{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
}

TYPED_TEST(BrokerContract, ReadsBackwardPageByPageToTheBeginning) {
  const StreamKey key = room("r");
  this->publish_many(key, 10);
  Page page = this->newest(key, 4);
  EXPECT_EQ(this->seqs(page), (Seqs{7, 8, 9, 10}));
  EXPECT_TRUE(page.more);
  page = this->before(key, 7, 4);
  EXPECT_EQ(this->seqs(page), (Seqs{3, 4, 5, 6}));
  EXPECT_TRUE(page.more);
  page = this->before(key, 3, 4);
  EXPECT_EQ(this->seqs(page), (Seqs{1, 2}));
  EXPECT_FALSE(page.more);
  page = this->before(key, 1, 4);
  EXPECT_TRUE(page.events.empty());
  EXPECT_FALSE(page.more);
}

TYPED_TEST(BrokerContract, TellsExactlyWhetherThereIsMore) {
  const StreamKey key = room("r");
  this->publish_many(key, 5);
  EXPECT_FALSE(this->since(key, 0, 5).more);
  EXPECT_TRUE(this->since(key, 0, 4).more);
  EXPECT_FALSE(this->since(key, 1, 4).more);
  EXPECT_FALSE(this->newest(key, 5).more);
  EXPECT_TRUE(this->newest(key, 4).more);
  EXPECT_FALSE(this->before(key, 5, 4).more);
  EXPECT_TRUE(this->before(key, 5, 3).more);
}

TYPED_TEST(BrokerContract, ALimitOfZeroGivesOnlyThePositions) {
  const StreamKey key = room("r");
  this->publish_many(key, 5);
  for (const Page& page : {this->since(key, 0, 0), this->newest(key, 0), this->before(key, 3, 0)}) {
    EXPECT_TRUE(page.events.empty());
    EXPECT_EQ(page.first_seq, 1U);
    EXPECT_EQ(page.head_seq, 5U);
    EXPECT_TRUE(page.more);
  }
  EXPECT_FALSE(this->since(key, 5, 0).more);
  EXPECT_FALSE(this->before(key, 1, 0).more);
}

TYPED_TEST(BrokerContract, BoundsOutsideOfTheStreamAreNoErrors) {
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  const StreamKey key = room("r");
  this->publish_many(key, 3);
  for (const std::uint64_t at : {std::uint64_t{3}, std::uint64_t{4}, kMax}) {
    const Page page = this->since(key, at);
    EXPECT_TRUE(page.events.empty()) << at;
    EXPECT_FALSE(page.more);
    EXPECT_EQ(page.head_seq, 3U);
  }
  for (const std::uint64_t at : {std::uint64_t{4}, std::uint64_t{5}, kMax}) {
    EXPECT_EQ(this->seqs(this->before(key, at)), (Seqs{1, 2, 3})) << at;
  }
  EXPECT_TRUE(this->before(key, 0).events.empty());
  EXPECT_EQ(this->newest(key, std::numeric_limits<std::size_t>::max()).events.size(), 3U);
}

TYPED_TEST(BrokerContract, StopsAfterTheEventThatPassesTheByteBound) {
  const StreamKey key = room("r");
  for (int i = 0; i < 5; ++i) this->publish(key, std::string(100, 'x'));
  Page page = this->since(key, 0, 10, 0);  // one is always given
  EXPECT_EQ(this->seqs(page), Seqs{1});
  EXPECT_TRUE(page.more);
  page = this->since(key, 0, 10, 250);
  EXPECT_EQ(this->seqs(page), (Seqs{1, 2, 3}));
  EXPECT_TRUE(page.more);
  page = this->newest(key, 10, 250);
  EXPECT_EQ(this->seqs(page), (Seqs{3, 4, 5}));
  EXPECT_TRUE(page.more);
  page = this->before(key, 5, 10, 250);
  EXPECT_EQ(this->seqs(page), (Seqs{2, 3, 4}));
  EXPECT_TRUE(page.more);
  page = this->since(key, 2, 10, 250);
  EXPECT_EQ(this->seqs(page), (Seqs{3, 4, 5}));
  EXPECT_FALSE(page.more);
}

// ---- retention: at least what the limit allows is kept, the oldest goes first. A backend may keep somewhat more.

TYPED_TEST(BrokerContract, RetentionByCountDropsTheOldestAndAReaderSeesWhatItLost) {
  this->start({.retain_count = 10});
  const StreamKey key = room("r");
  this->publish_many(key, 10);
  EXPECT_EQ(this->newest(key).first_seq, 1U);
  this->publish_many(key, 490);
  const Page page = this->since(key, 2);
  EXPECT_EQ(page.head_seq, 500U);
  EXPECT_GT(page.first_seq, 3U);  // the reader lost (2, first_seq)
  EXPECT_LE(page.first_seq, 491U);
  ASSERT_FALSE(page.events.empty());
  EXPECT_EQ(page.events.front().seq, page.first_seq);
  EXPECT_EQ(page.events.size(), 500 - page.first_seq + 1);
  EXPECT_FALSE(page.more);
  EXPECT_FALSE(this->before(key, page.first_seq).more);
  EXPECT_TRUE(this->before(key, page.first_seq).events.empty());
}

TYPED_TEST(BrokerContract, RetentionByBytesDropsTheOldest) {
  this->start({.retain_count = 1'000'000, .retain_bytes = 100'000});
  const StreamKey key = room("r");
  for (int i = 0; i < 500; ++i) this->publish(key, std::string(1000, 'x'));
  const Page page = this->newest(key);
  EXPECT_EQ(page.head_seq, 500U);
  EXPECT_GT(page.first_seq, 300U);
  EXPECT_LE(page.first_seq, 450U);  // half of the bound may be overhead
  EXPECT_EQ(page.events.size(), 500 - page.first_seq + 1);
}

TYPED_TEST(BrokerContract, RetentionByAgeDropsTheOldestAndKeepsTheCount) {
  this->start({.retain_age_ms = 60'000});
  const StreamKey key = room("r");
  this->subscribe(key);
  this->publish_many(key, 3);
  this->backend().pass_time(40'000);
  this->publish_many(key, 2);
  this->broker().sweep();
  this->backend().settle();
  EXPECT_EQ(this->newest(key).first_seq, 1U);
  this->backend().pass_time(30'000);
  this->broker().sweep();
  this->backend().settle();
  Page page = this->newest(key);
  EXPECT_EQ(this->seqs(page), (Seqs{4, 5}));
  EXPECT_EQ(page.first_seq, 4U);
  const std::uint64_t epoch = page.epoch;
  this->backend().pass_time(60'000);
  this->broker().sweep();
  this->backend().settle();
  page = this->since(key, 1);
  EXPECT_TRUE(page.events.empty());
  EXPECT_FALSE(page.more);
  EXPECT_EQ(page.first_seq, 6U);  // head_seq + 1
  EXPECT_EQ(page.head_seq, 5U);
  EXPECT_EQ(page.epoch, epoch);
  EXPECT_EQ(this->publish(key, "6").position, (Position{epoch, 6}));
}

TYPED_TEST(BrokerContract, ARetainedCountOfZeroKeepsNothingButCarriesAll) {
  this->start({.retain_count = 0});
  const StreamKey key = room("r");
  this->subscribe(key);
  this->publish_many(key, 3);
  EXPECT_EQ(this->seen_seqs(), (Seqs{1, 2, 3}));
  const Page page = this->newest(key);
  EXPECT_TRUE(page.events.empty());
  EXPECT_EQ(page.first_seq, 4U);
  EXPECT_EQ(page.head_seq, 3U);
  EXPECT_FALSE(page.more);
}

TYPED_TEST(BrokerContract, RulesGiveStreamsCountsOfTheirOwn) {
  this->start({.retain_count = 1000, .retain_rules = rules({"room:few-* count=10", "room:none-? count=0"})});
  for (const StreamKey& key : {room("few-1"), room("few-"), room("none-1"), room("other"), inbox("few-1")}) {
    this->publish_many(key, 500);
  }
  for (const StreamKey& key : {room("few-1"), room("few-")}) {
    const Page page = this->newest(key);
    EXPECT_EQ(page.head_seq, 500U);
    EXPECT_GE(page.events.size(), 10U);
    EXPECT_LT(page.events.size(), 300U);
    EXPECT_EQ(page.events.size(), 500 - page.first_seq + 1);
  }
  EXPECT_TRUE(this->newest(room("none-1")).events.empty());
  EXPECT_EQ(this->newest(room("none-1")).head_seq, 500U);
  EXPECT_EQ(this->newest(room("other")).events.size(), 500U);
  EXPECT_EQ(this->newest(inbox("few-1")).events.size(), 500U);
}

TYPED_TEST(BrokerContract, RulesGiveStreamsBytesOfTheirOwn) {
  this->start({.retain_count = 1'000'000, .retain_rules = rules({"room:small count=100000 bytes=100000"})});
  for (int i = 0; i < 500; ++i) {
    this->publish(room("small"), std::string(1000, 'x'));
    this->publish(room("large"), std::string(1000, 'x'));
  }
  EXPECT_GT(this->newest(room("small")).first_seq, 300U);
  EXPECT_LE(this->newest(room("small")).first_seq, 450U);
  EXPECT_EQ(this->newest(room("large")).first_seq, 1U);
}

TYPED_TEST(BrokerContract, RulesGiveStreamsAgesOfTheirOwn) {
  this->start({.retain_age_ms = 60'000, .retain_rules = rules({"room:short* age=10s", "inbox:* age=2m"})});
  const std::vector<StreamKey> keys{inbox("u"), room("r"), room("short")};  // the one kept longest comes first
  for (const StreamKey& key : keys) this->publish(key, "1");
  const auto kept = [&] {
    Seqs counts;
    for (const StreamKey& key : keys) counts.push_back(this->newest(key).events.size());
    return counts;
  };
  const auto pass = [&](std::int64_t ms) {
    this->backend().pass_time(ms);
    this->broker().sweep();
    this->backend().settle();
  };
  pass(5'000);
  EXPECT_EQ(kept(), (Seqs{1, 1, 1}));
  pass(10'000);
  EXPECT_EQ(kept(), (Seqs{1, 1, 0}));
  EXPECT_EQ(this->newest(room("short")).first_seq, 2U);
  for (const StreamKey& key : keys) this->publish(key, "2");
  pass(50'000);
  EXPECT_EQ(kept(), (Seqs{2, 1, 0}));
  pass(120'000);
  EXPECT_EQ(kept(), (Seqs{0, 0, 0}));
  for (const StreamKey& key : keys) EXPECT_EQ(this->newest(key).head_seq, 2U);
}

TYPED_TEST(BrokerContract, TheFirstRuleThatFitsIsTakenWhole) {
  this->start({.retain_count = 500,
               .retain_rules = rules({"room:a* age=1h", "room:a* count=5", "room:* count=0", "room:b count=500"})});
  for (const StreamKey& key : {room("a"), room("b"), room("c")}) this->publish_many(key, 400);
  EXPECT_EQ(this->newest(room("a")).events.size(), 400U);  // the count is the general one, not the second rule's
  EXPECT_TRUE(this->newest(room("b")).events.empty());
  EXPECT_TRUE(this->newest(room("c")).events.empty());
}

TYPED_TEST(BrokerContract, ARuleForInboxesTouchesNoRoomAndTheOtherWayRound) {
  this->start({.retain_rules = rules({"inbox:u* count=0", "room:v* count=0"})});
  for (const StreamKey& key : {room("u"), inbox("u"), room("v"), inbox("v")}) this->publish_many(key, 3);
  EXPECT_EQ(this->newest(room("u")).events.size(), 3U);
  EXPECT_TRUE(this->newest(inbox("u")).events.empty());
  EXPECT_TRUE(this->newest(room("v")).events.empty());
  EXPECT_EQ(this->newest(inbox("v")).events.size(), 3U);
}

// ---- calls from within callbacks

TYPED_TEST(BrokerContract, ASinkMayPublishToTheSameStream) {
  const StreamKey key = room("r");
  this->subscribe(key);
  int done = 0;
  this->hook = [&](std::size_t count) {
    if (count < 5) {
      this->broker().publish(key, this->publication(std::to_string(count + 1)),
                             [&](base::Result<Published>) { ++done; });
    }
    this->trace.push_back("end " + std::to_string(count));
  };
  this->publish(key, "1");
  this->backend().settle();
  EXPECT_EQ(this->seen_seqs(), (Seqs{1, 2, 3, 4, 5}));
  EXPECT_EQ(done, 4);
  // One event after the other: none is told while the sink has the one before it in hand.
  EXPECT_EQ(this->trace, (Trace{"event 1", "end 1", "event 2", "end 2", "event 3", "end 3", "event 4", "end 4",
                                "event 5", "end 5"}));
}

TYPED_TEST(BrokerContract, ACompletionMayPublishToTheSameAndToOtherStreams) {
  const StreamKey a = room("a"), b = inbox("b");
  this->subscribe(a);
  this->subscribe(b);
  int done = 0;
  this->broker().publish(a, this->publication("a1"), [&](base::Result<Published>) {
    this->broker().publish(a, this->publication("a2", "k"), [&](base::Result<Published> second) {
      EXPECT_EQ(second->position.seq, 2U);
      this->broker().publish(a, this->publication("a2", "k"), [&](base::Result<Published> repeated) {
        EXPECT_TRUE(repeated->duplicate);
        EXPECT_EQ(repeated->position.seq, 2U);
        ++done;
      });
    });
    this->broker().publish(b, this->publication("b1"), [&](base::Result<Published>) { ++done; });
  });
  this->backend().settle();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(this->seen.size(), 3U);
  EXPECT_EQ(this->newest(a).head_seq, 2U);
  EXPECT_EQ(this->newest(b).head_seq, 1U);
}

TYPED_TEST(BrokerContract, UnsubscribingFromWithinAnEventStopsThoseThatWereOnTheirWay) {
  const StreamKey key = room("r");
  this->subscribe(key);
  int done = 0;
  this->hook = [&](std::size_t) {
    this->broker().publish(key, this->publication("2"), [&](base::Result<Published>) { ++done; });
    this->broker().publish(key, this->publication("3"), [&](base::Result<Published>) { ++done; });
    this->broker().unsubscribe(key);
  };
  this->publish(key, "1");
  this->backend().settle();
  EXPECT_EQ(this->seen_seqs(), Seqs{1});
  EXPECT_EQ(done, 2);
  EXPECT_EQ(this->newest(key).head_seq, 3U);
}

TYPED_TEST(BrokerContract, SubscribingAnewFromWithinAnEventRepeatsAndMissesNothing) {
  const StreamKey key = room("r");
  this->subscribe(key);
  std::optional<Position> at;
  this->hook = [&](std::size_t count) {
    if (count != 1) return;
    this->broker().publish(key, this->publication("2"), [](base::Result<Published>) {});
    this->broker().unsubscribe(key);
    this->broker().publish(key, this->publication("3"), [](base::Result<Published>) {});
    this->broker().subscribe(key, [&](base::Result<Position> result) { at = *result; });
    this->broker().publish(key, this->publication("4"), [](base::Result<Published>) {});
  };
  this->publish(key, "1");
  this->backend().settle();
  ASSERT_TRUE(at.has_value());
  Seqs expected{1};
  for (std::uint64_t seq = at->seq + 1; seq <= 4; ++seq) expected.push_back(seq);
  EXPECT_GE(at->seq, 2U);
  EXPECT_EQ(this->seen_seqs(), expected);
}

TYPED_TEST(BrokerContract, AnyCallIsSafeInsideOfAnyCallback) {
  const StreamKey key = room("r"), other = room("other");
  this->subscribe(key);
  int reads = 0;
  this->hook = [&](std::size_t count) {
    if (count != 1) return;
    this->broker().read(key, {ReadRange::From::kSince, 0, 10}, [&](base::Result<Page> page) {
      EXPECT_GE(page->head_seq, 1U);
      ++reads;
      this->broker().subscribe(other, [&](base::Result<Position>) {
        this->broker().publish(other, this->publication("o1"), [&](base::Result<Published>) {
          this->broker().unsubscribe(other);
          this->broker().sweep();
          this->broker().read(other, {ReadRange::From::kNewest, 0, 10}, [&](base::Result<Page> page) {
            EXPECT_EQ(page->events.size(), 1U);
            ++reads;
          });
        });
      });
    });
  };
  this->publish(key, "1");
  this->backend().settle();
  EXPECT_EQ(reads, 2);
  EXPECT_EQ(this->seen.size(), 2U);
}

TYPED_TEST(BrokerContract, ALongChainOfPublishesFromCompletionsNeedsNoDeepStack) {
  const StreamKey key = room("r");
  this->subscribe(key);
  struct Chain {
    BrokerContract<TypeParam>& test;
    const StreamKey& key;
    int left;
    void next() {
      if (left-- == 0) return;
      test.broker().publish(key, test.publication("x"), [this](base::Result<Published>) { next(); });
    }
  } chain{*this, key, TypeParam::kLongChain};
  chain.next();
  this->backend().settle();
  EXPECT_EQ(this->seen.size(), static_cast<std::size_t>(TypeParam::kLongChain));
}

}  // namespace
}  // namespace hubbub::broker
