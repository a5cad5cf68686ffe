#include "hubbub/hub/session_shard.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/hub_fixture.hpp"

// Fan-out to readers that are slow and to shards that have more mail than they may: nothing kept is lost or doubled.
namespace hubbub::hub {
namespace {

using test::BrokerFaults;
using test::Client;
using test::direct;
using test::HubFixture;
using test::HubOptions;
using test::join;
using test::Json;
using test::leave;
using test::lines;
using test::say;

Json typing_start(std::string_view room) { return {{"type", "typing_start"}, {"room_id", room}}; }
Json typing_stop(std::string_view room) { return {{"type", "typing_stop"}, {"room_id", room}}; }
Json watch(const std::vector<std::string>& users) { return {{"type", "presence_watch"}, {"user_ids", users}}; }

constexpr std::size_t kOutQueueBytes = 4096;

HubOptions options_of(unsigned shards) {
  HubOptions options{.shards = shards};
  options.limits.out_queue_bytes = kOutQueueBytes;
  return options;
}

/// The messages `first` to `last` that `speak` has `user` say in `room`.
std::vector<std::string> messages(const std::string& room, const std::string& user, int first, int last) {
  std::vector<std::string> all;
  for (int n = first; n <= last; ++n) {
    const std::string text = std::to_string(n);
    all.push_back("message " + text + " " + room + " " + user + " " + text);
  }
  return all;
}

class SessionShardTest : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    for (Client* client : {&ann, &bob, &eve}) hub.tell(*client, join("r"));
    for (Client& client : hub.clients) client.take();
  }
  void speak(int first, int last, const std::string& room = "r") {
    for (int n = first; n <= last; ++n) {
      hub.send(ann, say(room, n));
      hub.settle();
    }
  }
  void block(Client& client) { client.outbound->block(); }
  void drain(Client& client, std::size_t bytes = test::FakeOutbound::kNoEnd) {
    hub.pool[client.shard].post([&client, bytes] {
      if (client.session != nullptr) client.outbound->make_room(*client.session, bytes);
    });
    hub.settle();
  }
  /// Blocked, and so much queued that kept events have given way to a mark.
  int mark(Client& client, int first = 1) {
    block(client);
    const std::uint64_t before = hub.count(&Counters::lags);
    int n = first;
    while (hub.count(&Counters::lags) == before) {
      speak(n, n);
      ++n;
    }
    return n - 1;
  }

  HubFixture hub{options_of(GetParam())};
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& eve = hub.connect("eve");
};

INSTANTIATE_TEST_SUITE_P(Shards, SessionShardTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// ---------------------------------------------------------------------------------------------------- a slow reader

TEST_P(SessionShardTest, DoesNotLetASlowReaderHoldOthersUp) {
  block(bob);
  speak(1, 100);
  EXPECT_EQ(ann.heard(), messages("r", "ann", 1, 100));
  EXPECT_EQ(eve.heard(), messages("r", "ann", 1, 100));
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(SessionShardTest, ReplacesKeptEventsByAMarkAndRefillsThemInOrder) {
  block(bob);
  speak(1, 200);
  EXPECT_EQ(hub.count(&Counters::lags), 1U);
  EXPECT_LT(bob.outbound->queued_bytes(), kOutQueueBytes + 1000);
  drain(bob);
  EXPECT_EQ(bob.heard(), messages("r", "ann", 1, 200));
  EXPECT_GT(hub.count(&Counters::refills), 1U);
  EXPECT_EQ(hub.count(&Counters::gaps), 0U);
  speak(201, 202);  // live again
  EXPECT_EQ(bob.heard(), messages("r", "ann", 201, 202));
}

TEST_P(SessionShardTest, RefillsAReaderThatTakesALittleAtATime) {
  block(bob);
  speak(1, 60);
  for (int n = 61; n <= 120; ++n) {
    drain(bob, 300);
    speak(n, n);
  }
  drain(bob);
  EXPECT_EQ(bob.heard(), messages("r", "ann", 1, 120));
  EXPECT_EQ(hub.count(&Counters::lags), 1U);  // behind until the end: no page overfills the queue
  EXPECT_GT(hub.count(&Counters::refills), 3U);
}

TEST_P(SessionShardTest, RefillsAReaderThatBlocksAgainDuringItsRefill) {
  block(bob);
  speak(1, 200);
  for (int i = 0; i < 100 && bob.outbound->events.size() < 200; ++i) drain(bob, 1500);
  drain(bob);
  EXPECT_EQ(bob.heard(), messages("r", "ann", 1, 200));
}

TEST_P(SessionShardTest, RefillsAllRoomsOfAReader) {
  for (int i = 0; i < 5; ++i) {
    const std::string room = "room" + std::to_string(i);
    hub.tell(ann, join(room));
    hub.tell(bob, join(room));
  }
  ann.take();
  bob.take();
  block(bob);
  for (int n = 1; n <= 40; ++n) {
    for (int i = 0; i < 5; ++i) hub.send(ann, say("room" + std::to_string(i), n));
    hub.settle();
  }
  drain(bob);
  std::vector<std::string> heard = bob.heard();
  for (int i = 0; i < 5; ++i) {
    const std::string room = "room" + std::to_string(i);
    std::vector<std::string> of_room;
    std::copy_if(heard.begin(), heard.end(), std::back_inserter(of_room),
                 [&](const std::string& line) { return line.find(" " + room + " ") != std::string::npos; });
    EXPECT_EQ(of_room, messages(room, "ann", 1, 40));
  }
}

TEST_P(SessionShardTest, RefillsAnInboxWithoutTheSessionsOwnMessages) {
  Client& bob_too = hub.connect("bob");
  block(bob);
  hub.tell(bob_too, direct("eve", "copy"));
  for (int n = 1; n <= 60; ++n) {
    hub.send(ann, direct("bob", n));
    hub.settle();
    if (n == 30) {
      drain(bob, 1000);                     // it is heard again, though marked
      hub.send(bob, direct("eve", "own"));  // takes a number of bob's inbox, but bob's own session knows it
      hub.settle();
    }
  }
  EXPECT_EQ(hub.count(&Counters::lags), 1U);
  drain(bob);
  std::vector<std::string> expected = lines("direct_message 1 bob eve copy");
  for (int n = 1; n <= 60; ++n) {
    const int seq = n + 1 + (n > 30 ? 1 : 0);
    expected.push_back("direct_message " + std::to_string(seq) + " ann bob " + std::to_string(n));
  }
  EXPECT_EQ(bob.heard(), expected);
  EXPECT_EQ(bob_too.heard().size(), 61U);
}

TEST_P(SessionShardTest, TellsAGapWhereRetentionNoLongerReaches) {
  HubOptions options = options_of(GetParam());
  options.broker.retain_count = 10;
  HubFixture small(options);
  Client& say_er = small.connect("ann");
  Client& slow = small.connect("bob");
  small.tell(say_er, join("r"));
  small.tell(slow, join("r"));
  slow.outbound->block();
  for (int n = 1; n <= 100; ++n) small.tell(say_er, say("r", n));
  small.pool[slow.shard].post([&] { slow.outbound->make_room(*slow.session); });
  small.settle();
  const std::vector<std::string> heard = slow.heard();
  ASSERT_GT(heard.size(), 11U);
  const int last_before = static_cast<int>(heard.size()) - 11;
  std::vector<std::string> expected = messages("r", "ann", 1, last_before);
  expected.push_back("gap " + std::string("r ") + std::to_string(last_before + 1) + " 90");
  const std::vector<std::string> after = messages("r", "ann", 91, 100);
  expected.insert(expected.end(), after.begin(), after.end());
  EXPECT_EQ(heard, expected);
  EXPECT_EQ(small.count(&Counters::gaps), 1U);
}

TEST_P(SessionShardTest, JoinsARoomWhileMarked) {
  const int last = mark(bob);
  drain(bob, 1000);  // it is heard again
  hub.tell(ann, join("s"));
  hub.send(bob, join("s"));
  hub.settle();
  ann.take();
  speak(1, 5, "s");
  speak(last + 1, last + 5);
  drain(bob);
  std::vector<std::string> heard = bob.heard();
  std::vector<std::string> of_s;
  for (const std::string& line : heard) {
    if (line.starts_with("joined s") || line.find(" s ") != std::string::npos) of_s.push_back(line);
  }
  std::vector<std::string> expected = messages("s", "ann", 1, 5);
  expected.insert(expected.begin(), "joined s 0 [ann,bob] 2");
  EXPECT_EQ(of_s, expected);
  speak(6, 6, "s");
  EXPECT_EQ(bob.heard(), messages("s", "ann", 6, 6));
}

// A watch has no stream: refilling it read the stream of the room that happens to have the user's id.
TEST_P(SessionShardTest, GivesAWatcherNothingOfARoomNamedLikeTheUser) {
  hub.tell(ann, join("carl"));
  hub.tell(ann, say("carl", "secret"));
  mark(bob);
  drain(bob, 1000);
  hub.send(bob, watch({"carl"}));
  hub.settle();
  drain(bob);
  for (const std::string& line : bob.heard()) {
    EXPECT_EQ(line.find("secret"), std::string::npos) << line;
    EXPECT_FALSE(line.starts_with("gap")) << line;
  }
  hub.connect("carl");
  EXPECT_EQ(bob.heard(), lines("presence carl online"));
}

TEST_P(SessionShardTest, SendsNothingOfARoomThatAMarkedReaderLeft) {
  const int last = mark(bob);
  drain(bob, 1000);
  speak(last + 1, last + 10);
  Json command = leave("r");
  command["id"] = 1;
  hub.send(bob, command);
  hub.settle();
  speak(last + 11, last + 20);
  drain(bob);
  const std::vector<std::string> heard = bob.heard();
  ASSERT_EQ(heard.back(), "ack 1 r");
  EXPECT_EQ(std::vector<std::string>(heard.begin(), heard.end() - 1),
            messages("r", "ann", 1, static_cast<int>(heard.size()) - 1));
}

TEST_P(SessionShardTest, LetsAMarkedReaderLeaveAndComeBack) {
  const int last = mark(bob);
  drain(bob, 1000);
  speak(last + 1, last + 10);
  hub.send(bob, leave("r"));
  hub.send(bob, join("r"));
  hub.settle();
  speak(last + 11, last + 20);
  drain(bob);
  std::vector<Json> events = bob.take();
  const auto joined = std::find_if(events.begin(), events.end(), [](const Json& e) { return e["type"] == "joined"; });
  ASSERT_NE(joined, events.end());
  EXPECT_EQ((*joined)["seq"], last + 10);
  std::uint64_t expected = last + 10;
  for (auto event = joined + 1; event != events.end(); ++event) {
    if ((*event)["type"] == "message") {
      EXPECT_EQ((*event)["seq"], ++expected);
    }
  }
  EXPECT_EQ(expected, static_cast<std::uint64_t>(last + 20));
}

TEST_P(SessionShardTest, ForgetsAReaderThatEndsUnderPressure) {
  mark(bob);
  hub.end(bob);
  hub.settle();
  hub.advance_ms(60'000);
  EXPECT_EQ(hub.count(&Counters::slow_closed), 0U);
  ann.take();
  hub.tell(eve, typing_start("r"));
  EXPECT_EQ(ann.heard("typing"), lines("typing_start eve r"));
}

// ----------------------------------------------------------------------------------------- ephemera of a slow reader

TEST_P(SessionShardTest, KeepsOnlyTheNewestEphemeraOfAKeyForASlowReader) {
  block(bob);
  speak(1, 10);  // enough for ephemera to give way, not for kept events
  hub.tell(eve, typing_start("r"));
  hub.tell(eve, typing_stop("r"));
  hub.tell(ann, typing_start("r"));
  hub.tell(eve, typing_start("r"));
  speak(11, 11);  // ends ann's typing
  EXPECT_EQ(hub.count(&Counters::lags), 0U);
  drain(bob);
  std::vector<std::string> expected = messages("r", "ann", 1, 11);
  expected.push_back("typing_start eve r");
  expected.push_back("typing_stop ann r");
  EXPECT_EQ(bob.heard(), expected);
  EXPECT_EQ(hub.count(&Counters::ephemera_conflated), 3U);
}

TEST_P(SessionShardTest, BoundsTheEphemeraKeptForASlowReader) {
  block(bob);
  speak(1, 10);
  for (int i = 0; i < 300; ++i) {
    Client& guest = hub.open("guest" + std::to_string(i), 0);
    hub.settle();
    hub.send(guest, join("r"));
    hub.settle();
  }
  EXPECT_EQ(hub.count(&Counters::ephemera_dropped), 300U - 256);
  drain(bob);
  EXPECT_EQ(bob.heard("user_joined").size(), 256U);
}

TEST_P(SessionShardTest, SendsEphemeraToAReaderThatIsBlockedOnLittle) {
  block(bob);
  speak(1, 1);
  hub.tell(eve, typing_start("r"));
  hub.tell(eve, typing_stop("r"));
  drain(bob);
  EXPECT_EQ(bob.heard(), lines("message 1 r ann 1", "typing_start eve r", "typing_stop eve r"));
}

// Ephemera that waited for a slow reader came after the room had been left.
TEST_P(SessionShardTest, ForgetsTheEphemeraOfARoomThatASlowReaderLeft) {
  block(bob);
  speak(1, 10);
  hub.tell(eve, typing_start("r"));
  hub.tell(bob, watch({"carl"}));
  hub.connect("carl");
  hub.send(bob, Json{{"type", "presence_unwatch"}, {"id", 1}, {"user_ids", {"carl"}}});
  Json command = leave("r");
  command["id"] = 2;
  hub.send(bob, command);
  hub.settle();
  drain(bob);
  std::vector<std::string> expected = messages("r", "ann", 1, 10);
  for (const char* line : {"presence carl offline", "ack 1", "ack 2 r"}) expected.emplace_back(line);
  EXPECT_EQ(bob.heard(), expected);
}

// ------------------------------------------------------------------------------------------------------ slow consumers

TEST_P(SessionShardTest, ClosesASlowConsumerThatMakesNoProgressForTheGrace) {
  mark(bob);
  hub.advance_ms(9'900);
  EXPECT_FALSE(bob.outbound->closed);
  hub.advance_ms(200);
  EXPECT_EQ(bob.outbound->closed, protocol::CloseCode::kSlowConsumer);
  EXPECT_EQ(hub.count(&Counters::slow_closed), 1U);
  EXPECT_FALSE(ann.outbound->closed);
  hub.end(bob);
  hub.settle();
  EXPECT_EQ(eve.heard("user"), lines("user_left bob r"));
}

TEST_P(SessionShardTest, KeepsASlowConsumerThatMakesProgress) {
  mark(bob);
  for (int i = 0; i < 20; ++i) {
    hub.advance_ms(9'000);
    drain(bob, 50);
    EXPECT_FALSE(bob.outbound->closed);
  }
  hub.advance_ms(9'900);
  EXPECT_FALSE(bob.outbound->closed);
  hub.advance_ms(200);
  EXPECT_TRUE(bob.outbound->closed);
}

TEST_P(SessionShardTest, KeepsAReaderThatIsBlockedOnLittle) {
  block(bob);
  speak(1, 10);
  for (int i = 0; i < 20; ++i) hub.advance_ms(5'000);
  EXPECT_FALSE(bob.outbound->closed);
}

TEST_P(SessionShardTest, HearsNoMoreOfWhoReadsNothingAndClosesItAfterTheGrace) {
  block(bob);
  hub.tell(bob, {{"type", "ping"}});
  for (int n = 0; n < 400; ++n) hub.send(bob, {{"type", "ping"}, {"id", std::string(100, 'x')}});
  hub.settle();
  EXPECT_FALSE(bob.outbound->closed);
  EXPECT_TRUE(bob.outbound->input_held);
  EXPECT_LT(bob.outbound->most_queued, kOutQueueBytes + 200);
  hub.advance_ms(10'100);
  EXPECT_EQ(bob.outbound->closed, protocol::CloseCode::kSlowConsumer);
  EXPECT_EQ(hub.count(&Counters::slow_closed), 1U);
}

TEST_P(SessionShardTest, ClosesWhoAsksMuchAndReadsNothing) {
  block(bob);
  hub.tell(bob, {{"type", "ping"}});
  std::vector<std::string> users;
  for (int n = 0; n < 300; ++n) users.push_back("user" + std::to_string(n));
  for (int n = 0; n < 4; ++n) hub.send(bob, {{"type", "presence_query"}, {"user_ids", users}});
  hub.settle();
  EXPECT_EQ(bob.outbound->closed, protocol::CloseCode::kSlowConsumer);
  EXPECT_LT(bob.outbound->most_queued, 4 * kOutQueueBytes + 200);
  hub.advance_ms(10'100);
  EXPECT_EQ(hub.count(&Counters::slow_closed), 1U);
}

// Whoever sends enough of them could have anybody closed.
TEST_P(SessionShardTest, DropsSignalsToASlowReader) {
  block(bob);
  const Json signal = {{"type", "signal"}, {"to_user", "bob"}, {"data", std::string(500, 'x')}};
  for (int n = 0; n < 100; ++n) hub.tell(eve, signal);
  EXPECT_FALSE(bob.outbound->closed);
  EXPECT_GT(hub.count(&Counters::ephemera_dropped), 90U);
  EXPECT_LT(bob.outbound->queued_bytes(), kOutQueueBytes);
  bob.outbound->events.clear();
  drain(bob);
  const std::size_t kept = bob.heard("signal").size();
  EXPECT_EQ(kept + hub.count(&Counters::ephemera_dropped), 100U);
  hub.tell(eve, signal);
  EXPECT_EQ(bob.heard("signal").size(), 1U);
}

TEST_P(SessionShardTest, DropsSignalsPastTheQueueInOneTurn) {
  const std::string json = R"({"type":"signal","data":")" + std::string(1000, 'x') + "\"}";
  hub.pool[bob.shard].post([&] {
    SessionShard& side = hub.manager.sessions(hub.pool[bob.shard]);
    for (int n = 0; n < 300; ++n) side.signalled(bob.session->id(), json);
  });
  hub.settle();
  EXPECT_FALSE(bob.outbound->closed);
  EXPECT_EQ(bob.heard("signal").size(), 4U);
  EXPECT_EQ(hub.count(&Counters::ephemera_dropped), 296U);
}

TEST_P(SessionShardTest, KeepsSignalsForWhoIsAwayUpToTheQueue) {
  Client& carl = hub.connect("carl", {}, Framing::kWebSocket);
  hub.pool[carl.shard].post([&] { carl.session->suspend(); });
  block(carl);
  for (int n = 0; n < 20; ++n) {
    hub.tell(eve, {{"type", "signal"}, {"to_user", "carl"}, {"data", std::string(1000, 'x')}});
  }
  EXPECT_EQ(hub.count(&Counters::ephemera_dropped), 16U);
  drain(carl);
  EXPECT_EQ(carl.heard("signal").size(), 4U);
}

// ------------------------------------------------------------------------------------------------------------- refills

// The refill of the next room waited for the socket, but nobody went on when it had drained without pressure.
TEST_P(SessionShardTest, GoesOnRefillingAfterAShortBlock) {
  for (const char* room : {"a", "b", "c"}) {
    hub.tell(ann, join(room));
    hub.tell(ann, say(room, 1));
  }
  Client& carl = hub.connect("carl");
  block(carl);
  for (const char* room : {"a", "b", "c"}) {
    Json command = join(room);
    command["since"] = 0;
    hub.send(carl, command);
  }
  hub.settle();
  EXPECT_LT(carl.outbound->queued_bytes(), kOutQueueBytes / 8 * 4);
  drain(carl);
  std::vector<std::string> heard = carl.heard("message");
  std::sort(heard.begin(), heard.end());  // order is promised within a room only
  EXPECT_EQ(heard, lines("message 1 a ann 1", "message 1 b ann 1", "message 1 c ann 1"));
}

TEST_P(SessionShardTest, GoesOnRefillingWithTheNextPageAfterAShortBlock) {
  HubOptions options{.shards = GetParam()};  // pages of 512 events, far below out_queue_bytes / 8
  HubFixture large(options);
  Client& writer = large.connect("ann");
  large.tell(writer, join("r"));
  for (int n = 1; n <= 700; ++n) large.send(writer, say("r", n));
  large.settle();
  Client& reader = large.connect("bob");
  reader.outbound->block();
  Json command = join("r");
  command["since"] = 0;
  large.send(reader, command);
  large.settle();
  large.pool[reader.shard].post([&] { reader.outbound->make_room(*reader.session); });
  large.settle();
  EXPECT_EQ(reader.heard("message"), messages("r", "ann", 1, 700));
}

// One page at a time: the others had waited for the page of a room that was left, and nobody asked for theirs.
TEST_P(SessionShardTest, GoesOnRefillingWhenTheRoomWhosePageIsOnItsWayIsLeft) {
  for (int turns = 0; turns < 12; ++turns) {
    SCOPED_TRACE(turns);
    HubFixture large(HubOptions{.shards = GetParam()});  // pages of 512 events
    Client& writer = large.connect("ann", 0);
    for (const char* room : {"a", "b"}) large.tell(writer, join(room));
    for (int n = 1; n <= 700; ++n) large.send(writer, say("a", n));
    large.send(writer, say("b", 1));
    large.settle();
    Client& carl = large.connect("carl", 0);
    for (const char* room : {"a", "b"}) {
      Json command = join(room);
      command["since"] = 0;
      large.send(carl, command);
    }
    for (int i = 0; i < turns; ++i) large.turn(static_cast<unsigned>(i) % GetParam());
    large.send(carl, leave("b"));
    large.settle();
    large.tell(writer, say("a", 701));
    std::vector<std::string> heard = carl.heard("message");
    std::erase(heard, "message 1 b ann 1");
    EXPECT_EQ(heard, messages("a", "ann", 1, 701));
  }
}

TEST_P(SessionShardTest, RetriesARefillWhenTheBrokerIsBack) {
  BrokerFaults faults;
  HubOptions options = options_of(GetParam());
  options.faults = &faults;
  HubFixture faulty(options);
  Client& writer = faulty.connect("ann");
  Client& reader = faulty.connect("bob");
  faulty.tell(writer, join("r"));
  faulty.tell(reader, join("r"));
  reader.take();
  reader.outbound->block();
  for (int n = 1; n <= 60; ++n) faulty.tell(writer, say("r", n));
  faults.down = true;
  faulty.pool[reader.shard].post([&] { reader.outbound->make_room(*reader.session); });
  faulty.settle();
  faulty.advance_ms(5'000);
  const std::size_t before = reader.outbound->events.size();
  EXPECT_LT(before, 60U);
  faults.down = false;
  faulty.advance_ms(1'010);
  EXPECT_EQ(reader.heard("message"), messages("r", "ann", 1, 60));
}

// ------------------------------------------------------------------------------------------------------ full mailboxes

// A room at home on shard 0 whose members are on shard 1, which takes little mail.

class FullMailboxTest : public testing::Test {
 protected:
  static HubOptions options() {
    HubOptions options{.shards = 2, .mailbox_max = 4};
    return options;
  }
  void SetUp() override {
    for (Client* client : {&ann, &bob, &eve}) hub.tell(*client, join(room));
    for (Client& client : hub.clients) client.take();
  }
  std::vector<std::string> expected(int first, int last) { return messages(room, "ann", first, last); }

  HubFixture hub{options()};
  const std::string room = hub.id_at_home(0);
  Client& ann = hub.connect("ann", 0);
  Client& bob = hub.connect("bob", 1);
  Client& eve = hub.connect("eve", 1);
};

TEST_F(FullMailboxTest, OwesKeptEventsAndRefillsThemInOrder) {
  for (int n = 1; n <= 20; ++n) hub.send(ann, say(room, n));
  hub.turn(0);  // 4 of 20 fit
  hub.settle();
  EXPECT_EQ(bob.heard(), expected(1, 20));
  EXPECT_EQ(eve.heard(), expected(1, 20));
  EXPECT_EQ(ann.heard(), expected(1, 20));
  EXPECT_GT(hub.counters(1).refills.get(), 0U);
}

// The refill had been ahead of the shard's own count of the room, so the next event looked like one of a gap, and what
// the refill had brought came again.
TEST_F(FullMailboxTest, DoublesNothingAfterARefillThatWasAheadOfTheMail) {
  for (int round = 0; round < 3; ++round) {
    for (int n = 1; n <= 10; ++n) hub.send(ann, say(room, round * 11 + n));
    hub.turn(0);
    hub.settle();
    hub.tell(ann, say(room, round * 11 + 11));
  }
  EXPECT_EQ(bob.heard(), expected(1, 33));
  EXPECT_EQ(eve.heard(), expected(1, 33));
}

TEST_F(FullMailboxTest, DropsEphemeraAndCountsThem) {
  for (int n = 0; n < 4; ++n) hub.send(ann, say(room, n + 1));
  hub.send(ann, typing_start(room));
  hub.turn(0);
  hub.settle();
  EXPECT_EQ(bob.heard(), expected(1, 4));
  EXPECT_EQ(hub.manager.sessions(hub.pool[1]).dropped_at_mailbox(), 1U);
}

TEST_F(FullMailboxTest, DropsSignalsAndCountsThem) {
  const std::string user = hub.id_at_home(0, "user");
  Client& far = hub.connect(user, 1);
  for (int n = 0; n < 10; ++n) hub.send(ann, {{"type", "signal"}, {"to_user", user}, {"data", n}});
  hub.turn(0);
  hub.settle();
  EXPECT_EQ(far.heard("signal").size(), 4U);
  EXPECT_EQ(hub.manager.sessions(hub.pool[1]).dropped_at_mailbox(), 6U);
}

TEST_F(FullMailboxTest, RefusesACommandWhoseHomeHasTooMuchMail) {
  for (int n = 0; n < 10; ++n) {
    Json command = say(room, n);
    command["id"] = n;
    hub.send(bob, command);
  }
  hub.turn(1);
  hub.settle();
  const std::vector<std::string> heard = bob.heard();
  std::size_t overloaded = 0;
  std::size_t stored = 0;
  for (const std::string& line : heard) {
    overloaded += line.ends_with(" overloaded") ? 1 : 0;
    stored += line.starts_with("message") ? 1 : 0;
  }
  EXPECT_EQ(overloaded, 6U);
  EXPECT_EQ(stored, 4U);
  EXPECT_EQ(eve.heard().size(), 4U);
}

TEST_F(FullMailboxTest, AnswersJoinsAndLeavesHoweverMuchMailThereIs) {
  for (int n = 0; n < 20; ++n) {
    hub.send(bob, join("x" + std::to_string(n)));
    hub.send(eve, join("x" + std::to_string(n)));
  }
  hub.settle();
  EXPECT_EQ(bob.heard("joined").size(), 20U);
  hub.end(bob);
  hub.settle();
  Client& carl = hub.connect("carl");
  EXPECT_EQ(hub.tell(carl, join("x3")).at(0), "joined x3 0 [carl,eve] 2");
}

TEST_F(FullMailboxTest, OwesWhatASessionMissedThatJoinsMeanwhile) {
  Client& carl = hub.connect("carl", 1);
  hub.send(carl, join(room));
  hub.turn(1);
  for (int n = 1; n <= 20; ++n) hub.send(ann, say(room, n));
  hub.turn(0);
  hub.settle();
  EXPECT_EQ(carl.heard("message"), expected(1, 20));
  EXPECT_EQ(bob.heard("message"), expected(1, 20));
}

// A debt that is settled between the reading of a page and its arrival: the page brings its session up to date with
// what the shard knows, but not with what is owed since. Nobody asked again before the room's next event.
TEST_F(FullMailboxTest, RefillsWhatIsOwedWhileARefillIsOnItsWay) {
  // Behind: 5 and 6 are owed, and bob and eve have asked shard 0 for them.
  for (int n = 1; n <= 6; ++n) hub.send(ann, say(room, n));
  hub.turn(0);
  hub.turn(1);
  // While shard 1 is in its turn, shard 0 answers, and owes 7 because the mailbox is full.
  hub.pool[1].post([&] {
    std::thread home([&] {
      for (int n = 0; n < 4; ++n) hub.pool[1].post([] {});
      hub.send(ann, say(room, 7));
      hub.turn(0);
    });
    home.join();
  });
  hub.turn(1);
  hub.settle();
  EXPECT_EQ(bob.heard(), expected(1, 7));
  EXPECT_EQ(eve.heard(), expected(1, 7));
}

TEST_F(FullMailboxTest, RefillsWhatIsOwedWhileAJoinIsOnItsWay) {
  Client& carl = hub.connect("carl", 1);
  hub.send(carl, join(room));
  hub.turn(1);
  hub.pool[1].post([&] {
    std::thread home([&] {
      for (int n = 0; n < 4; ++n) hub.pool[1].post([] {});
      hub.turn(0);  // the join
      hub.send(ann, say(room, 1));
      hub.turn(0);
    });
    home.join();
  });
  hub.turn(1);
  hub.settle();
  EXPECT_EQ(carl.heard("message"), expected(1, 1));
  EXPECT_EQ(bob.heard("message"), expected(1, 1));
}

// All members of a shard asked for a page at once: overload was answered with more load.
TEST(SessionShard, AsksForFewPagesAtATimeWhenAllAreBehind) {
  constexpr std::size_t kMembers = 1000;
  BrokerFaults faults;
  HubOptions options{.shards = 2, .mailbox_max = 4};
  options.faults = &faults;
  HubFixture hub(options);
  const std::string room = hub.id_at_home(0);
  Client& ann = hub.connect("ann", 0);
  hub.tell(ann, join(room));
  std::vector<Client*> members;
  for (std::size_t i = 0; i < kMembers; ++i) members.push_back(&hub.open("u" + std::to_string(i), 1));
  hub.settle();
  for (Client* member : members) hub.send(*member, join(room));
  hub.settle();
  for (Client* member : members) member->take();

  for (int n = 1; n <= 10; ++n) hub.send(ann, say(room, n));
  hub.turn(0);  // 4 of 10 fit
  faults.slow = true;
  hub.settle();
  hub.end(*members[0]);
  hub.end(*members[999]);
  std::size_t answered = 0;
  while (!faults.waiting.empty()) {
    EXPECT_LE(faults.waiting.size(), 64U);
    answered += faults.waiting.size();
    hub.pool[0].post([&] { faults.release(); });
    hub.settle();
  }
  EXPECT_GE(answered, kMembers - 2);
  for (std::size_t i = 1; i < kMembers - 1; ++i) {
    ASSERT_EQ(members[i]->heard("message"), messages(room, "ann", 1, 10)) << i;
  }
  faults.slow = false;
  hub.tell(ann, say(room, 11));
  EXPECT_EQ(members[1]->heard("message"), messages(room, "ann", 11, 11));
}

// The mail that had filled the mailbox was done with by then, and nothing woke the shard.
TEST(SessionShard, WakesUpToSettleADebt) {
  const base::ManualClock clock;
  runtime::ShardPool pool(1, 16, clock);
  ConnectionManager manager(pool, Limits{}, [&](runtime::Shard&, broker::BrokerSink& sink, broker::PresenceSink&) {
    return std::make_unique<broker::LocalBackend>(
        std::make_unique<broker::MemoryBroker>(clock, broker::MemoryBrokerLimits{}, sink));
  });
  pool.start();
  using Time = std::chrono::steady_clock;
  // The home's sweep wakes it once a second, so at most one of these may be luck.
  for (std::uint64_t seq = 1; seq <= 3; ++seq) {
    const std::uint64_t before = pool[0].turns();
    manager.sessions(pool[0]).owe(TopicKind::kRoom, base::SharedString("r"), seq);
    const auto deadline = Time::now() + std::chrono::milliseconds(300);
    while (pool[0].turns() == before && Time::now() < deadline) std::this_thread::yield();
    EXPECT_GT(pool[0].turns(), before);
    while (Time::now() < deadline) std::this_thread::yield();
  }
  pool.stop();
}

// Its session asks again before it knows: it was told that it is in the room.
TEST(SessionShard, RefusesAJoinOnTopOfOneThatFailed) {
  BrokerFaults faults;
  HubOptions options{.shards = 2};
  options.faults = &faults;
  HubFixture hub(options);
  const std::string room = hub.id_at_home(0);
  Client& bob = hub.connect("bob", 1);
  hub.send(bob, join(room));
  hub.turn(1);
  hub.pool[0].post([&] { faults.down = false; });
  hub.send(bob, join(room));
  hub.turn(1);
  faults.down = true;
  hub.turn(0);
  hub.settle();
  EXPECT_EQ(bob.heard(), lines("error broker_unavailable", "error broker_unavailable"));
  EXPECT_EQ(hub.tell(bob, join(room)), lines("joined " + room + " 0 [bob] 1", "user_joined bob " + room));
}

// A join that failed has no place in the room's numbers; the leave that crosses its answer took away another's.
TEST(SessionShard, LetsALeaveThatCrossesAFailedJoinTakeNobodysPlace) {
  BrokerFaults faults;
  HubOptions options{.shards = 2};
  options.faults = &faults;
  HubFixture hub(options);
  const std::string room = hub.id_at_home(0);
  Client& ann = hub.connect("ann", 0);
  Client& bob = hub.connect("bob", 1);
  hub.send(bob, join(room));
  hub.turn(1);
  hub.send(bob, leave(room));  // in shard 1's mailbox before the answer
  faults.down = true;
  hub.turn(0);
  faults.down = false;
  EXPECT_EQ(hub.pool.size(), 2U);
  hub.send(ann, join(room));
  hub.turn(0);
  hub.settle();
  ann.take();
  EXPECT_EQ(hub.tell(ann, say(room, 1)), lines("message 1 " + room + " ann 1"));
}

}  // namespace
}  // namespace hubbub::hub
