#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/hub_fixture.hpp"

// The commands of a session, one after the other: direct messages, history, recovery, signals, limits.
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

class SessionCommandsTest : public testing::TestWithParam<unsigned> {
 protected:
  HubFixture hub{HubOptions{.shards = GetParam()}};

  Json history(std::uint64_t id) { return {{"type", "history"}, {"id", id}}; }
  std::string epoch_of(Client& client, const std::string& room) {
    hub.send(client, join(room));
    hub.settle();
    return client.take().at(0)["epoch"];
  }
};

INSTANTIATE_TEST_SUITE_P(Shards, SessionCommandsTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// ----------------------------------------------------------------------------------------------------- direct messages

TEST_P(SessionCommandsTest, SendsADirectMessageToAllOfTheRecipientAndTheSendersOtherSessions) {
  Client& ann = hub.connect("ann");
  Client& ann_too = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& bob_too = hub.connect("bob");
  Client& eve = hub.connect("eve");
  Json command = direct("bob", "psst");
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 1 sessions=2"));
  const auto expected = lines("direct_message 1 ann bob psst");
  EXPECT_EQ(ann_too.heard(), expected);
  EXPECT_EQ(bob.heard(), expected);
  EXPECT_EQ(bob_too.heard(), expected);
  EXPECT_EQ(eve.heard(), lines());
}

TEST_P(SessionCommandsTest, GivesADirectMessageTheFieldsOfTheProtocolInTheirOrder) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Json command = direct("bob", {1, 2});
  command["message_id"] = "m";
  hub.tell(ann, command);
  EXPECT_EQ(bob.take().at(0).dump(),
            R"({"type":"direct_message","id":"1700000000000-1","seq":1,"from":"ann","to_user":"bob","content":[1,2],)"
            R"("timestamp":"2023-11-14T22:13:20.000Z","message_id":"m"})");
}

TEST_P(SessionCommandsTest, SendsADirectMessageToOneselfOnce) {
  Client& ann = hub.connect("ann");
  Client& ann_too = hub.connect("ann");
  EXPECT_EQ(hub.tell(ann, direct("ann", "note")), lines("direct_message 1 ann ann note"));
  EXPECT_EQ(ann_too.heard(), lines("direct_message 1 ann ann note"));
}

TEST_P(SessionCommandsTest, NumbersAnInboxNotAPair) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& eve = hub.connect("eve");
  hub.tell(ann, direct("bob", 1));
  hub.tell(eve, direct("bob", 2));
  hub.send(bob, direct("ann", 3));  // the copy for bob's other sessions takes a number of his inbox
  hub.settle();
  hub.tell(ann, direct("bob", 4));
  EXPECT_EQ(bob.heard("direct"),
            lines("direct_message 1 ann bob 1", "direct_message 2 eve bob 2", "direct_message 4 ann bob 4"));
}

TEST_P(SessionCommandsTest, KeepsADirectMessageForAUserWhoIsAway) {
  Client& ann = hub.connect("ann");
  Json command = direct("bob", "later");
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 1 sessions=0"));
  Client& bob = hub.connect("bob");
  EXPECT_EQ(bob.heard(), lines());
  EXPECT_EQ(hub.tell(bob, history(2)), lines("history 2 [direct_message 1 ann bob later] not more"));
}

TEST_P(SessionCommandsTest, ShowsTheSenderItsOwnDirectMessagesInItsInbox) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, direct("bob", "hi"));
  EXPECT_EQ(hub.tell(ann, history(1)), lines("history 1 [direct_message 1 ann bob hi] not more"));
}

TEST_P(SessionCommandsTest, StoresARepeatedDirectMessageOnce) {
  Client& ann = hub.connect("ann");
  Client& ann_too = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Json command = direct("bob", "hi");
  command["message_id"] = "m1";
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 1 sessions=1"));
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 1 duplicate sessions=1"));
  EXPECT_EQ(hub.tell(ann_too, command), lines("direct_message 1 ann bob hi m1", "ack 1 1 duplicate sessions=1"));
  EXPECT_EQ(bob.heard(), lines("direct_message 1 ann bob hi m1"));
}

// ------------------------------------------------------------------------------------------------------------- dedupe

TEST_P(SessionCommandsTest, StoresARepeatedMessageIdOnce) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  Json command = say("lobby", "hi");
  command["id"] = 1;
  command["message_id"] = "m1";
  EXPECT_EQ(hub.tell(ann, command), lines("message 1 lobby ann hi m1", "ack 1 1"));
  hub.clock.advance_ms(1000);
  command["content"] = "other";
  hub.send(ann, command);
  hub.settle();
  const std::vector<Json> events = ann.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]["duplicate"], true);
  EXPECT_EQ(events[0]["message"], "1700000000000-1");  // the first one's
}

TEST_P(SessionCommandsTest, TakesAMessageIdAsTheUsersOwnInItsRoom) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  for (const char* room : {"a", "b"}) {
    hub.tell(ann, join(room));
    hub.tell(bob, join(room));
  }
  bob.take();
  for (const char* room : {"a", "b"}) {
    Json command = say(room, 1);
    command["message_id"] = "m1";
    hub.tell(ann, command);
    EXPECT_EQ(hub.tell(bob, command).back(), std::string("message 2 ") + room + " bob 1 m1");
  }
}

TEST_P(SessionCommandsTest, ForgetsAMessageIdAfterTheWindow) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  Json command = say("lobby", "hi");
  command["message_id"] = "m1";
  hub.tell(ann, command);
  hub.advance_ms(300'000);
  EXPECT_EQ(hub.tell(ann, command), lines("message 2 lobby ann hi m1"));
}

// ------------------------------------------------------------------------------------------------------------ history

TEST_P(SessionCommandsTest, PagesThroughHistoryBothWays) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  for (int n = 1; n <= 7; ++n) hub.send(ann, say("r", n));
  hub.settle();
  ann.take();
  Json command = history(1);
  command["room_id"] = "r";
  command["limit"] = 3;
  EXPECT_EQ(hub.tell(ann, command),
            lines("history 1 r [message 5 r ann 5, message 6 r ann 6, message 7 r ann 7] more"));
  command["before_seq"] = 5;
  EXPECT_EQ(hub.tell(ann, command),
            lines("history 1 r [message 2 r ann 2, message 3 r ann 3, message 4 r ann 4] more"));
  command["before_seq"] = 2;
  EXPECT_EQ(hub.tell(ann, command), lines("history 1 r [message 1 r ann 1] not more"));
  command.erase("before_seq");
  command["since_seq"] = 0;
  EXPECT_EQ(hub.tell(ann, command),
            lines("history 1 r [message 1 r ann 1, message 2 r ann 2, message 3 r ann 3] more"));
  command["since_seq"] = 6;
  EXPECT_EQ(hub.tell(ann, command), lines("history 1 r [message 7 r ann 7] not more"));
  command["since_seq"] = 7;
  EXPECT_EQ(hub.tell(ann, command), lines("history 1 r [] not more"));
  command["since_seq"] = 1000;
  EXPECT_EQ(hub.tell(ann, command), lines("history 1 r [] not more"));
}

TEST_P(SessionCommandsTest, RefusesTheHistoryOfARoomOneIsNotIn) {
  Client& ann = hub.connect("ann");
  Json command = history(1);
  command["room_id"] = "r";
  EXPECT_EQ(hub.tell(ann, command), lines("error 1 not_in_room"));
}

TEST_P(SessionCommandsTest, TellsTheSameEpochInJoinedAndHistory) {
  Client& ann = hub.connect("ann");
  const std::string epoch = epoch_of(ann, "r");
  EXPECT_EQ(epoch.size(), 16U);
  Json command = history(1);
  command["room_id"] = "r";
  hub.send(ann, command);
  hub.settle();
  EXPECT_EQ(ann.take().at(0)["epoch"], epoch);
}

TEST_P(SessionCommandsTest, BoundsAHistoryAnswerByBytesAndSaysMore) {
  HubOptions options{.shards = GetParam()};
  options.limits.out_queue_bytes = 4000;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  small.tell(ann, join("r"));
  for (int n = 0; n < 20; ++n) small.tell(ann, say("r", std::string(500, 'x')));
  Json command = history(1);
  command["room_id"] = "r";
  small.send(ann, command);
  small.settle();
  const Json answer = ann.take().at(0);
  EXPECT_LT(answer.dump().size(), 4000U);
  EXPECT_GE(answer["messages"].size(), 2U);
  EXPECT_EQ(answer["messages"].back()["seq"], 20);
  EXPECT_EQ(answer["more"], true);
}

// ------------------------------------------------------------------------------------------------------- back-pressure

class ManyCommandsTest : public testing::TestWithParam<unsigned> {
 protected:
  static constexpr std::size_t kOutQueueBytes = 16 * 1024;
  static HubOptions options() {
    HubOptions options{.shards = GetParam()};
    options.limits.out_queue_bytes = kOutQueueBytes;
    return options;
  }
  void SetUp() override {
    hub.tell(ann, join("r"));
    for (int n = 1; n <= 20; ++n) hub.tell(ann, say("r", std::string(1000, 'x')));
    ann.take();
  }
  Json history(int id) { return {{"type", "history"}, {"id", id}, {"room_id", "r"}}; }
  std::vector<int> answered(Client& client) {
    std::vector<int> ids;
    for (const Json& event : client.take()) {
      if (event["type"] == "history") ids.push_back(event["id"]);
    }
    return ids;
  }
  std::vector<int> up_to(int end) {
    std::vector<int> ids(static_cast<std::size_t>(end));
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  }

  HubFixture hub{options()};
  Client& ann = hub.connect("ann");
};

INSTANTIATE_TEST_SUITE_P(Shards, ManyCommandsTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// All answers were made before any bound was looked at, and then the reader was closed, however fast it read.
TEST_P(ManyCommandsTest, AnswersAThousandHistoriesOfOneTurnWithinBounds) {
  for (int n = 0; n < 1000; ++n) hub.send(ann, history(n));
  hub.turn(ann.shard);
  EXPECT_TRUE(ann.outbound->input_held);
  hub.settle();
  EXPECT_EQ(answered(ann), up_to(1000));
  EXPECT_FALSE(ann.outbound->closed);
  EXPECT_FALSE(ann.outbound->input_held);
  EXPECT_LT(ann.outbound->most_queued, 4 * kOutQueueBytes);
}

TEST_P(ManyCommandsTest, AnswersFewHistoriesOfWhoReadsNothing) {
  ann.outbound->block();
  for (int n = 0; n < 1000; ++n) hub.send(ann, history(n));
  hub.settle();
  EXPECT_LT(ann.outbound->most_queued, 4 * kOutQueueBytes);
  EXPECT_TRUE(ann.outbound->input_held);
  EXPECT_FALSE(ann.outbound->closed);
  hub.advance_ms(10'100);
  EXPECT_EQ(ann.outbound->closed, protocol::CloseCode::kSlowConsumer);
  EXPECT_EQ(hub.count(&Counters::slow_closed), 1U);
  hub.end(ann);
  hub.settle();
}

// With little left in the queue it was no slow consumer, and with its input held nobody missed its pongs.
TEST_P(ManyCommandsTest, ClosesWhoReadsNoMoreWhateverTheSocketTook) {
  for (std::size_t taken = 1'000; taken < 40'000; taken += 3'000) {
    SCOPED_TRACE(taken);
    Client& bob = hub.connect("bob" + std::to_string(taken));
    hub.tell(bob, join("r"));
    bob.outbound->block(taken);
    for (int n = 0; n < 1000; ++n) hub.send(bob, history(n));
    hub.settle();
    EXPECT_LT(bob.outbound->most_queued, 4 * kOutQueueBytes);
    hub.advance_ms(10'100);
    EXPECT_EQ(bob.outbound->closed, protocol::CloseCode::kSlowConsumer);
    hub.end(bob);
    hub.settle();
  }
}

TEST_P(ManyCommandsTest, GoesOnWithWhatWasHeldWhenTheReaderReads) {
  ann.outbound->block();
  for (int n = 0; n < 100; ++n) hub.send(ann, history(n));
  hub.settle();
  while (ann.outbound->input_held) {
    hub.pool[ann.shard].post([&] { ann.outbound->make_room(*ann.session, 10'000); });
    hub.settle();
  }
  hub.pool[ann.shard].post([&] { ann.outbound->make_room(*ann.session); });
  hub.settle();
  EXPECT_EQ(answered(ann), up_to(100));
  EXPECT_LT(ann.outbound->most_queued, 4 * kOutQueueBytes);
}

TEST_P(ManyCommandsTest, KeepsTheOrderOfCommandsThatHaveToWait) {
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("r"));
  for (int n = 0; n < 6; ++n) {
    hub.send(ann, history(n));
    hub.send(ann, say("r", n));
  }
  hub.send(ann, leave("r"));
  hub.send(ann, say("r", "late"));
  hub.send(ann, history(7));
  hub.settle();
  EXPECT_GT(ann.outbound->times_held, 0U);
  EXPECT_EQ(bob.heard(), lines("message 21 r ann 0", "message 22 r ann 1", "message 23 r ann 2", "message 24 r ann 3",
                               "message 25 r ann 4", "message 26 r ann 5", "user_left ann r"));
  EXPECT_EQ(ann.heard("error"), lines("error not_in_room", "error 7 not_in_room"));
}

TEST_P(ManyCommandsTest, LimitsWhatMayWait) {
  ann.outbound->block();
  for (int n = 0; n < 10; ++n) hub.send(ann, history(n));
  for (int n = 0; n < 40; ++n) hub.send(ann, say("r", std::string(30'000, 'x')));
  hub.settle();
  EXPECT_EQ(ann.outbound->closed, protocol::CloseCode::kRateLimited);
  hub.end(ann);
  hub.settle();
}

TEST_P(ManyCommandsTest, CountsEveryKindOfAnswerOnce) {
  Client& bob = hub.connect("bob");
  Json bad = history(1);
  bad["room_id"] = "nowhere";
  for (int round = 0; round < 20; ++round) {
    for (const Json& command :
         {join("r"), join("r"), history(1), bad, Json{{"type", "presence_query"}, {"user_ids", {"ann", "bob", "eve"}}},
          Json{{"type", "presence_query"}, {"user_ids", Json::array()}}, leave("r"), leave("r")}) {
      hub.send(bob, command);
    }
  }
  hub.settle();
  EXPECT_EQ(bob.heard("joined").size(), 40U);
  EXPECT_FALSE(bob.outbound->input_held);
  EXPECT_EQ(hub.tell(bob, {{"type", "ping"}}), lines("pong"));
}

TEST_P(ManyCommandsTest, RefusesHeavyCommandsByHttpPastTheLimit) {
  std::vector<std::string> answers;
  hub.pool[ann.shard].post([&] {
    const std::vector<std::string_view> texts(6, R"({"type":"history","room_id":"r"})");
    hub.manager.sessions(hub.pool[ann.shard]).call(*ann.session, texts, [&](const std::vector<std::string>& all) {
      answers = all;
    });
  });
  hub.settle();
  ASSERT_EQ(answers.size(), 6U);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Json answer = Json::parse(answers[i]);
    EXPECT_EQ(i < 4 ? answer["type"] : answer["code"], i < 4 ? "history" : "overloaded");
  }
  EXPECT_EQ(hub.tell(ann, {{"type", "ping"}}), lines("pong"));
}

// ----------------------------------------------------------------------------------------------------------- recovery

TEST_P(SessionCommandsTest, SendsWhatWasMissedAfterJoinedAndBeforeAnythingNewer) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  const std::string epoch = epoch_of(ann, "r");
  for (int n = 1; n <= 5; ++n) hub.send(ann, say("r", n));
  hub.settle();
  Json command = join("r");
  command["since"] = 2;
  command["epoch"] = epoch;
  hub.send(bob, command);
  hub.turn(bob.shard);
  for (int n = 6; n <= 8; ++n) {
    hub.send(ann, say("r", n));
    hub.turn(static_cast<unsigned>(n) % GetParam());
  }
  hub.settle();
  const std::vector<std::string> heard = bob.heard();
  ASSERT_FALSE(heard.empty());
  EXPECT_TRUE(heard[0].starts_with("joined r ") && heard[0].ends_with(" recovered")) << heard[0];
  std::vector<std::string> messages;
  for (const std::string& line : heard) {
    if (line.starts_with("message")) messages.push_back(line);
  }
  EXPECT_EQ(messages, lines("message 3 r ann 3", "message 4 r ann 4", "message 5 r ann 5", "message 6 r ann 6",
                            "message 7 r ann 7", "message 8 r ann 8"));
}

TEST_P(SessionCommandsTest, SaysRecoveredWhenNothingWasMissed) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  hub.tell(ann, say("r", 1));
  Client& bob = hub.connect("bob");
  Json command = join("r");
  command["since"] = 1;
  EXPECT_EQ(hub.tell(bob, command), lines("joined r 1 [ann,bob] 2 recovered", "user_joined bob r"));
  hub.tell(ann, say("r", 2));
  EXPECT_EQ(bob.heard(), lines("message 2 r ann 2"));
}

TEST_P(SessionCommandsTest, RecoversFromABareRoomOfNobody) {
  Client& ann = hub.connect("ann");
  const std::string epoch = epoch_of(ann, "r");
  hub.tell(ann, say("r", 1));
  hub.tell(ann, say("r", 2));
  hub.tell(ann, leave("r"));
  Json command = join("r");
  command["since"] = 1;
  command["epoch"] = epoch;
  EXPECT_EQ(hub.tell(ann, command), lines("joined r 2 [ann] 1 recovered", "user_joined ann r", "message 2 r ann 2"));
}

TEST_P(SessionCommandsTest, SaysNotRecoveredForAnotherEpochOrASeqThatIsNotReachedYet) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  for (int n = 1; n <= 3; ++n) hub.tell(ann, say("r", n));
  Client& bob = hub.connect("bob");
  Json command = join("r");
  command["since"] = 1;
  command["epoch"] = "0000000000000000";
  EXPECT_EQ(hub.tell(bob, command), lines("joined r 3 [ann,bob] 2 not recovered", "user_joined bob r"));
  Client& eve = hub.connect("eve");
  command.erase("epoch");
  command["since"] = 4;
  EXPECT_EQ(hub.tell(eve, command), lines("joined r 3 [ann,bob,eve] 3 not recovered", "user_joined eve r"));
  hub.tell(ann, say("r", 4));
  EXPECT_EQ(bob.heard("message"), lines("message 4 r ann 4"));
  EXPECT_EQ(eve.heard("message"), lines("message 4 r ann 4"));
}

TEST_P(SessionCommandsTest, SendsWhatIsStillKeptWhenRetentionNoLongerReaches) {
  HubOptions options{.shards = GetParam()};
  options.broker.retain_count = 3;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  small.tell(ann, join("r"));
  for (int n = 1; n <= 10; ++n) small.tell(ann, say("r", n));
  Client& bob = small.connect("bob");
  Json command = join("r");
  command["since"] = 4;
  EXPECT_EQ(small.tell(bob, command), lines("joined r 10 [ann,bob] 2 not recovered", "user_joined bob r",
                                            "message 8 r ann 8", "message 9 r ann 9", "message 10 r ann 10"));
  Client& eve = small.connect("eve");
  command["since"] = 7;  // the oldest kept is 8: nothing is missing
  EXPECT_EQ(small.tell(eve, command).at(0), "joined r 10 [ann,bob,eve] 3 recovered");
}

TEST_P(SessionCommandsTest, RecoversMoreThanOnePage) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  for (int n = 1; n <= 900; ++n) hub.send(ann, say("r", n));
  hub.settle();
  Client& bob = hub.connect("bob");
  Json command = join("r");
  command["since"] = 0;
  hub.send(bob, command);
  hub.turn(bob.shard);
  hub.send(ann, say("r", 901));
  hub.settle();
  const std::vector<std::string> heard = bob.heard("message");
  ASSERT_EQ(heard.size(), 901U);
  for (std::size_t i = 0; i < heard.size(); ++i) {
    const std::string n = std::to_string(i + 1);
    EXPECT_EQ(heard[i], "message " + n + " r ann " + n);
  }
}

// ------------------------------------------------------------------------------------------------------------ signals

TEST_P(SessionCommandsTest, SendsASignalToAllSessionsOfAUserOrToOne) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& bob_too = hub.connect("bob");
  Json command = {{"type", "signal"}, {"id", 1}, {"to_user", "bob"}, {"data", {{"sdp", "x"}}}};
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 sessions=2"));
  EXPECT_EQ(bob.heard(), lines(R"(signal ann {"sdp":"x"})"));
  const Json event = bob_too.take().at(0);
  EXPECT_EQ(event["from_session"], ann.session_id);
  command["to_session"] = bob_too.session_id;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 sessions=1"));
  EXPECT_EQ(bob.heard(), lines());
  EXPECT_EQ(bob_too.heard(), lines(R"(signal ann {"sdp":"x"})"));
}

TEST_P(SessionCommandsTest, AnswersASignalToNobodyWithUserOffline) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& eve = hub.connect("eve");
  Json command = {{"type", "signal"}, {"id", 1}, {"to_user", "nobody"}, {"data", 1}};
  EXPECT_EQ(hub.tell(ann, command), lines("error 1 user_offline"));
  command["to_user"] = "bob";
  for (const std::string& session :
       {eve.session_id, std::string("0000000000000000"), std::string("x"), std::string("123"), bob.session_id + "0"}) {
    command["to_session"] = session;
    EXPECT_EQ(hub.tell(ann, command), lines("error 1 user_offline")) << session;
  }
  EXPECT_EQ(bob.heard(), lines());
  EXPECT_EQ(eve.heard(), lines());
}

// --------------------------------------------------------------------------------------------------- the small answers

TEST_P(SessionCommandsTest, AnswersPingAndReceived) {
  Client& ann = hub.connect("ann");
  EXPECT_EQ(hub.tell(ann, {{"type", "ping"}}), lines("pong"));
  EXPECT_EQ(hub.tell(ann, {{"type", "ping"}, {"id", "a"}}), lines("pong a"));
  EXPECT_EQ(hub.tell(ann, {{"type", "received"}, {"id", 1}, {"seq", 4}}), lines("ack 1"));
  EXPECT_EQ(hub.tell(ann, {{"type", "received"}, {"seq", 4}}), lines());
}

TEST_P(SessionCommandsTest, AnswersABadCommandAndLivesOn) {
  Client& ann = hub.connect("ann");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "error bad_json"},
      {R"({"type":"nonsense","id":1})", "error 1 unknown_type"},
      {R"({"type":"join_room","id":1})", "error 1 missing_field room_id"},
      {R"({"type":"join_room","id":1,"room_id":""})", "error 1 bad_field room_id"},
      {R"({"type":"room_message","id":"x","room_id":"r"})", "error x missing_field content"},
  };
  for (const auto& [text, answer] : cases) {
    hub.send_text(ann, text);
    hub.settle();
    EXPECT_EQ(ann.heard(), lines(answer)) << text;
  }
  EXPECT_EQ(hub.tell(ann, {{"type", "ping"}}), lines("pong"));
}

TEST_P(SessionCommandsTest, EchoesAnIdAsItWasWritten) {
  Client& ann = hub.connect("ann");
  hub.send_text(ann, R"({"type":"ping","id":1.50e0})");
  hub.send_text(ann, R"({"type":"ping","id":"\u0061\/"})");
  hub.settle();
  EXPECT_NE(ann.outbound->wire.find(R"({"type":"pong","id":1.50e0})"), std::string::npos);
  EXPECT_NE(ann.outbound->wire.find(R"({"type":"pong","id":"\u0061\/"})"), std::string::npos);
}

// ------------------------------------------------------------------------------------------------------------- limits

TEST_P(SessionCommandsTest, LimitsTheRoomsOfASession) {
  HubOptions options{.shards = GetParam()};
  options.limits.max_rooms_per_session = 2;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  small.tell(ann, join("a"));
  small.tell(ann, join("b"));
  EXPECT_EQ(small.tell(ann, join("c")), lines("error too_many_rooms"));
  EXPECT_EQ(small.tell(ann, join("b")), lines("joined b 0 [ann] 1 already"));
  small.tell(ann, leave("a"));
  EXPECT_EQ(small.tell(ann, join("c")).at(0), "joined c 0 [ann] 1");
  Client& bob = small.connect("bob");
  EXPECT_EQ(small.tell(bob, join("d")).at(0), "joined d 0 [bob] 1");
}

TEST_P(SessionCommandsTest, LimitsTheWatchesOfASession) {
  HubOptions options{.shards = GetParam()};
  options.limits.max_watches_per_session = 2;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  const auto watch = [](std::vector<std::string> users) {
    return Json{{"type", "presence_watch"}, {"id", 1}, {"user_ids", users}};
  };
  EXPECT_EQ(small.tell(ann, watch({"a", "b", "c"})), lines("error 1 too_many_watches"));  // and none is watched
  EXPECT_EQ(small.tell(ann, watch({"a", "b", "a"})).size(), 4U);
  EXPECT_EQ(small.tell(ann, watch({"b", "a"})).size(), 3U);
  small.tell(ann, {{"type", "presence_unwatch"}, {"user_ids", {"a"}}});
  EXPECT_EQ(small.tell(ann, watch({"c"})).size(), 2U);
  EXPECT_EQ(small.tell(ann, watch({"d"})), lines("error 1 too_many_watches"));
}

TEST_P(SessionCommandsTest, LimitsTheSessionsOfAUser) {
  HubOptions options{.shards = GetParam()};
  options.limits.max_sessions_per_user = 2;
  HubFixture small(options);
  Client& one = small.connect("ann");
  small.connect("ann");
  Client& three = small.open("ann");
  small.settle();
  EXPECT_EQ(three.heard(), lines());
  EXPECT_EQ(three.outbound->closed, protocol::CloseCode::kTooManySessions);
  small.end(three);
  small.end(one);
  small.settle();
  small.connect("ann");  // there is room again
}

TEST_P(SessionCommandsTest, LimitsTheRateOfCommands) {
  HubOptions options{.shards = GetParam()};
  options.limits.frames_per_second = 5;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  for (int n = 0; n < 7; ++n) small.send(ann, {{"type", "ping"}, {"id", n}});
  small.settle();
  EXPECT_EQ(ann.heard(),
            lines("pong 0", "pong 1", "pong 2", "pong 3", "pong 4", "error 5 rate_limited", "error 6 rate_limited"));
  EXPECT_EQ(small.count(&Counters::rate_limited), 2U);
  small.advance_ms(200);
  EXPECT_EQ(small.tell(ann, {{"type", "ping"}}), lines("pong"));
  EXPECT_EQ(small.tell(ann, {{"type", "ping"}}), lines("error rate_limited"));
}

TEST_P(SessionCommandsTest, LimitsTheBytesOfCommands) {
  HubOptions options{.shards = GetParam()};
  options.limits.bytes_per_second = 1000;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  small.tell(ann, join("r"));
  EXPECT_EQ(small.tell(ann, say("r", std::string(700, 'x'))).size(), 1U);
  EXPECT_EQ(small.tell(ann, say("r", std::string(700, 'x'))), lines("error rate_limited"));
  small.advance_ms(1000);
  EXPECT_EQ(small.tell(ann, say("r", "y")), lines("message 2 r ann y"));
}

// --------------------------------------------------------------------------------------------------- a broker in
// trouble

TEST_P(SessionCommandsTest, AnswersWithBrokerUnavailableWhenTheBrokerFails) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture faulty(options);
  Client& ann = faulty.connect("ann");
  faulty.tell(ann, join("r"));
  faults.down = true;
  EXPECT_EQ(faulty.tell(ann, join("s")), lines("error broker_unavailable"));
  EXPECT_EQ(faulty.tell(ann, say("r", 1)), lines("error broker_unavailable"));
  EXPECT_EQ(faulty.tell(ann, direct("bob", 1)), lines("error broker_unavailable"));
  EXPECT_EQ(faulty.tell(ann, history(1)), lines("error 1 broker_unavailable"));
  EXPECT_EQ(faulty.tell(ann, say("s", 1)), lines("error not_in_room"));  // the join failed
  faults.down = false;
  EXPECT_EQ(faulty.tell(ann, join("s")).at(0), "joined s 0 [ann] 1");
  EXPECT_EQ(faulty.tell(ann, say("r", 1)), lines("message 1 r ann 1"));
}

TEST_P(SessionCommandsTest, AnswersAJoinOnlyWhenTheSubscriptionStands) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture slow(options);
  Client& ann = slow.connect("ann");
  Client& bob = slow.connect("bob");
  Client& eve = slow.connect("eve");
  faults.slow = true;
  EXPECT_EQ(slow.tell(ann, join("r")), lines());
  EXPECT_EQ(slow.tell(bob, join("r")), lines());
  EXPECT_EQ(slow.tell(eve, join("r")), lines());
  Json command = leave("r");
  command["id"] = 1;
  EXPECT_EQ(slow.tell(bob, command), lines("ack 1 r"));
  slow.end(eve);
  slow.settle();
  faults.slow = false;
  slow.pool[slow.home_of("r")].post([&] { faults.release(); });
  slow.settle();
  EXPECT_EQ(ann.heard(), lines("joined r 0 [ann] 1", "user_joined ann r"));
  EXPECT_EQ(bob.heard(), lines());
  EXPECT_EQ(slow.tell(ann, say("r", 1)), lines("message 1 r ann 1"));
}

// The first join, of which the session knows nothing more, was answered and told to the room long after it was left.
TEST_P(SessionCommandsTest, ForgetsAJoinThatWasLeftWhileItsStreamWasRead) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture slow(options);
  Client& ann = slow.connect("ann");
  Client& bob = slow.connect("bob");
  slow.tell(ann, join("r"));
  slow.tell(ann, say("r", 1));
  faults.slow = true;
  Json command = join("r");
  command["id"] = 1;
  command["since"] = 0;
  EXPECT_EQ(slow.tell(bob, command), lines());
  EXPECT_EQ(ann.heard("user"), lines("user_joined bob r"));
  command = leave("r");
  command["id"] = 2;
  EXPECT_EQ(slow.tell(bob, command), lines("ack 2 r"));
  command = join("r");
  command["id"] = 3;
  EXPECT_EQ(slow.tell(bob, command), lines("joined 3 r 1 [ann,bob] 2", "user_joined bob r"));
  EXPECT_EQ(ann.heard("user"), lines("user_left bob r", "user_joined bob r"));
  faults.slow = false;
  slow.pool[slow.home_of("r")].post([&] { faults.release(); });
  slow.settle();
  EXPECT_EQ(bob.heard(), lines("error 1 not_in_room"));
  EXPECT_EQ(ann.heard(), lines());
  EXPECT_EQ(slow.tell(ann, say("r", 2)), lines("message 2 r ann 2"));
  EXPECT_EQ(bob.heard(), lines("message 2 r ann 2"));
}

TEST_P(SessionCommandsTest, AnswersAJoinWhoseStreamIsReadLate) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture slow(options);
  Client& ann = slow.connect("ann");
  Client& bob = slow.connect("bob");
  slow.tell(ann, join("r"));
  slow.tell(ann, say("r", 1));
  faults.slow = true;
  Json command = join("r");
  command["since"] = 0;
  slow.tell(bob, command);
  faults.slow = false;
  slow.pool[slow.home_of("r")].post([&] { faults.release(); });
  slow.settle();
  EXPECT_EQ(bob.heard(), lines("joined r 1 [ann,bob] 2 recovered", "message 1 r ann 1"));
}

// Joins that came on top of one that waits stayed behind when the room was left, and were answered with `already`.
TEST_P(SessionCommandsTest, ForgetsAllJoinsOfARoomThatIsLeftWhileTheyWait) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture slow(options);
  Client& bob = slow.connect("bob");
  faults.slow = true;
  int id = 0;
  for (Json command : {join("r"), join("r"), leave("r")}) {
    command["id"] = ++id;
    slow.send(bob, command);
  }
  slow.settle();
  EXPECT_EQ(bob.heard(), lines("error 1 not_in_room", "error 2 not_in_room", "ack 3 r"));
  faults.slow = false;
  slow.pool[slow.home_of("r")].post([&] { faults.release(); });
  slow.settle();
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(SessionCommandsTest, GoesOnAfterJoinsThatWereNotAnswered) {
  BrokerFaults faults;
  HubOptions options{.shards = GetParam()};
  options.faults = &faults;
  HubFixture slow(options);
  Client& ann = slow.connect("ann");
  Client& bob = slow.connect("bob");
  slow.tell(ann, join("r"));
  faults.slow = true;
  Json read = join("r");
  read["since"] = 0;
  for (int n = 0; n < 10; ++n) {
    for (const Json& command : {read, leave("r"), join("s"), leave("s")}) slow.send(bob, command);
  }
  slow.settle();
  EXPECT_TRUE(bob.outbound->input_held);
  while (!faults.waiting.empty()) {
    for (unsigned i = 0; i < GetParam(); ++i) slow.turn(i);
    slow.pool[0].post([&] { faults.release(); });
    slow.settle();
  }
  EXPECT_FALSE(bob.outbound->input_held);
  EXPECT_EQ(slow.tell(bob, {{"type", "ping"}}).back(), "pong");
}

}  // namespace
}  // namespace hubbub::hub
