#include "hubbub/hub/connection_manager.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/hub_fixture.hpp"

// The hub as its sessions see it, over one, two and three shards: rooms, order, who gets what.
namespace hubbub::hub {
namespace {

using test::Client;
using test::HubFixture;
using test::HubOptions;
using test::join;
using test::Json;
using test::leave;
using test::lines;
using test::say;

class ConnectionManagerTest : public testing::TestWithParam<unsigned> {
 protected:
  HubFixture hub{HubOptions{.shards = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Shards, ConnectionManagerTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

TEST_P(ConnectionManagerTest, TellsANewSessionWhoItIs) {
  Client& ann = hub.open("ann");
  hub.settle();
  const std::vector<Json> events = ann.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0]["type"], "connected");
  EXPECT_EQ(events[0]["user_id"], "ann");
  EXPECT_EQ(events[0]["server_id"], "n1");
  EXPECT_EQ(events[0]["heartbeat_ms"], 30'000);
  EXPECT_EQ(events[0]["resumed"], false);
  EXPECT_EQ(events[0]["session_id"].get<std::string>().size(), 16U);
  EXPECT_EQ(events[0]["session_key"].get<std::string>().size(), 32U);
}

TEST_P(ConnectionManagerTest, GivesEachSessionAKeyOfItsOwn) {
  Client& one = hub.open("ann");
  Client& two = hub.open("ann");
  hub.settle();
  const Json first = one.take().at(0);
  const Json second = two.take().at(0);
  EXPECT_NE(first["session_id"], second["session_id"]);
  EXPECT_NE(first["session_key"], second["session_key"]);
}

TEST_P(ConnectionManagerTest, AnswersAJoinWithTheMembersAndTellsTheRoom) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  EXPECT_EQ(hub.tell(ann, join("lobby")), lines("joined lobby 0 [ann] 1", "user_joined ann lobby"));
  EXPECT_EQ(hub.tell(bob, join("lobby")), lines("joined lobby 0 [ann,bob] 2", "user_joined bob lobby"));
  EXPECT_EQ(ann.heard(), lines("user_joined bob lobby"));
}

TEST_P(ConnectionManagerTest, TellsTheRoomOnceOfAUserWithThreeSessions) {
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  std::vector<Client*> sessions;
  for (int i = 0; i < 3; ++i) sessions.push_back(&hub.connect("ann"));
  for (Client* session : sessions) hub.tell(*session, join("lobby"));
  EXPECT_EQ(bob.heard(), lines("user_joined ann lobby"));
  hub.tell(*sessions[0], leave("lobby"));
  hub.end(*sessions[1]);
  hub.settle();
  EXPECT_EQ(bob.heard(), lines());
  hub.end(*sessions[2]);
  hub.settle();
  EXPECT_EQ(bob.heard(), lines("user_left ann lobby"));
}

TEST_P(ConnectionManagerTest, CountsUsersNotSessionsInJoined) {
  Client& one = hub.connect("ann");
  Client& two = hub.connect("ann");
  hub.tell(one, join("lobby"));
  EXPECT_EQ(hub.tell(two, join("lobby")), lines("joined lobby 0 [ann] 1"));
}

TEST_P(ConnectionManagerTest, AnswersASecondJoinWithAlready) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  hub.tell(ann, join("lobby"));
  bob.take();
  Json again = join("lobby");
  again["id"] = 7;
  EXPECT_EQ(hub.tell(ann, again), lines("joined 7 lobby 0 [ann,bob] 2 already"));
  EXPECT_EQ(bob.heard(), lines());
  hub.tell(ann, leave("lobby"));
  EXPECT_EQ(bob.heard(), lines("user_left ann lobby"));  // one leave undoes two joins
}

TEST_P(ConnectionManagerTest, AnswersALeaveOfARoomOneIsNotIn) {
  Client& ann = hub.connect("ann");
  Json command = leave("lobby");
  command["id"] = "x";
  EXPECT_EQ(hub.tell(ann, command), lines("error x not_in_room"));
  EXPECT_EQ(hub.tell(ann, leave("lobby")), lines("error not_in_room"));
}

TEST_P(ConnectionManagerTest, AcknowledgesALeaveOnlyWhenAsked) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  EXPECT_EQ(hub.tell(ann, leave("lobby")), lines());
  hub.tell(ann, join("lobby"));
  Json command = leave("lobby");
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 lobby"));
}

TEST_P(ConnectionManagerTest, SendsAMessageOnceToEverySessionInTheRoom) {
  Client& ann = hub.connect("ann");
  Client& ann_too = hub.connect("ann");
  Client& bob = hub.connect("bob");
  Client& eve = hub.connect("eve");
  for (Client* client : {&ann, &ann_too, &bob}) hub.tell(*client, join("lobby"));
  for (Client& client : hub.clients) client.take();
  EXPECT_EQ(hub.tell(ann, say("lobby", "hi")), lines("message 1 lobby ann hi"));
  EXPECT_EQ(ann_too.heard(), lines("message 1 lobby ann hi"));
  EXPECT_EQ(bob.heard(), lines("message 1 lobby ann hi"));
  EXPECT_EQ(eve.heard(), lines());
}

TEST_P(ConnectionManagerTest, SendsTheMessageBeforeItsAck) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  Json command = say("lobby", "hi");
  command["id"] = 5;
  hub.send(ann, command);
  hub.settle();
  const std::vector<Json> events = ann.take();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0]["type"], "message");
  EXPECT_EQ(events[1]["type"], "ack");
  EXPECT_EQ(events[1]["message"], events[0]["id"]);
  EXPECT_EQ(events[1]["seq"], events[0]["seq"]);
  EXPECT_FALSE(events[1].contains("duplicate"));
}

TEST_P(ConnectionManagerTest, RefusesAMessageToARoomOneIsNotIn) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  EXPECT_EQ(hub.tell(ann, say("lobby", "hi")), lines("error not_in_room"));
  EXPECT_EQ(bob.heard("message"), lines());
}

TEST_P(ConnectionManagerTest, GivesAMessageTheFieldsOfTheProtocolInTheirOrder) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  Json command = say("lobby", {{"b", 1}, {"a", nullptr}});
  command["message_id"] = "m1";
  hub.send(ann, command);
  hub.settle();
  EXPECT_EQ(ann.take().at(0).dump(),
            R"({"type":"message","id":"1700000000000-1","seq":1,"room_id":"lobby","from":"ann",)"
            R"("content":{"b":1,"a":null},"timestamp":"2023-11-14T22:13:20.000Z","message_id":"m1"})");
}

TEST_P(ConnectionManagerTest, PassesContentOnByteForByte) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  const std::string content = R"([ 1.50 ,"\u00e9" , {}  ,1e2])";
  hub.send_text(ann, R"({"type":"room_message","room_id":"lobby","content":)" + content + "}");
  hub.settle();
  EXPECT_NE(ann.outbound->wire.find(R"("content":)" + content + ","), std::string::npos) << ann.outbound->wire;
}

TEST_P(ConnectionManagerTest, GivesAllMembersOneOrderAcrossShards) {
  std::vector<Client*> members;
  for (int i = 0; i < 6; ++i) members.push_back(&hub.connect("u" + std::to_string(i)));
  for (Client* member : members) hub.send(*member, join("lobby"));
  hub.settle();
  for (Client* member : members) member->take();
  for (int n = 0; n < 20; ++n) {
    for (Client* member : members) hub.send(*member, say("lobby", n));
  }
  hub.settle();
  const std::vector<std::string> first = members[0]->heard("message");
  ASSERT_EQ(first.size(), 120U);
  for (std::size_t i = 1; i < members.size(); ++i) EXPECT_EQ(members[i]->heard("message"), first);
}

TEST_P(ConnectionManagerTest, KeepsTheOrderOfOneSender) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(ann, join("lobby"));
  hub.tell(bob, join("lobby"));
  for (int n = 1; n <= 100; ++n) {
    hub.send(ann, say("lobby", n));
    if (n % 7 == 0) hub.turn(static_cast<unsigned>(n) % GetParam());
  }
  hub.settle();
  const std::vector<std::string> heard = bob.heard("message");
  ASSERT_EQ(heard.size(), 100U);
  for (std::size_t i = 0; i < heard.size(); ++i) {
    const std::string n = std::to_string(i + 1);
    EXPECT_EQ(heard[i], "message " + n + " lobby ann " + n);
  }
}

TEST_P(ConnectionManagerTest, SendsAllThatFollowsJoinedAndNothingFromBefore) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  for (int n = 1; n <= 5; ++n) hub.send(ann, say("lobby", n));
  hub.settle();
  Client& bob = hub.connect("bob");
  // The join races with messages: whatever comes after `joined` must continue at its seq, without a hole.
  for (int n = 6; n <= 30; ++n) {
    hub.send(ann, say("lobby", n));
    if (n == 12) hub.send(bob, join("lobby"));
    hub.turn(static_cast<unsigned>(n * 5) % GetParam());
  }
  hub.settle();
  const std::vector<Json> events = bob.take();
  ASSERT_FALSE(events.empty());
  ASSERT_EQ(events[0]["type"], "joined");
  std::uint64_t expected = events[0]["seq"];
  for (const Json& event : events) {
    if (event["type"] != "message") continue;
    EXPECT_EQ(event["seq"], ++expected);
  }
  EXPECT_EQ(expected, 30U);
}

TEST_P(ConnectionManagerTest, SendsNothingOfTheRoomAfterALeaveInMidTurn) {
  Client& ann = hub.connect("ann", 0);
  Client& bob = hub.connect("bob", 0);
  const std::string room = hub.id_at_home(0);
  hub.tell(ann, join(room));
  hub.tell(bob, join(room));
  ann.take();
  bob.take();
  const base::SharedString id(room);
  auto event = [&](std::uint64_t seq, std::string json) {
    auto made = std::make_shared<Event>();
    made->seq = seq;
    made->json = std::move(json);
    return made;
  };
  // The batch of the room is open when bob leaves, and goes on growing behind him.
  hub.pool[0].post([&] {
    SessionShard& side = hub.manager.sessions(hub.pool[0]);
    side.deliver(TopicKind::kRoom, id, event(1, R"({"type":"one"})"));
    bob.session->receive(leave(room).dump());
    side.deliver(TopicKind::kRoom, id, event(2, R"({"type":"two"})"));
  });
  hub.turn(0);
  EXPECT_EQ(bob.heard(), lines("one"));
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("one", "two", "user_left bob " + room));
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(ConnectionManagerTest, ReadsTheBatchOfTheTurnOnlyFromItsJoinOn) {
  Client& ann = hub.connect("ann", 0);
  Client& bob = hub.connect("bob", 0);
  const std::string room = hub.id_at_home(0);
  hub.tell(ann, join(room));
  ann.take();
  // Home and members share the shard, so one turn sees: message, join, message.
  hub.send(ann, say(room, 1));
  hub.send(bob, join(room));
  hub.send(ann, say(room, 2));
  hub.turn(0);
  EXPECT_EQ(bob.heard(),
            lines("joined " + room + " 1 [ann,bob] 2", "user_joined bob " + room, "message 2 " + room + " ann 2"));
  EXPECT_EQ(ann.heard("message"), lines("message 1 " + room + " ann 1", "message 2 " + room + " ann 2"));
}

TEST_P(ConnectionManagerTest, GivesBothFramingsOfARoomTheSameEvents) {
  HubOptions options{.shards = GetParam()};
  options.limits.compression_min_bytes = 64;
  HubFixture mixed(options);
  Client& plain = mixed.connect("ann", 0, Framing::kWebSocket);
  Client& deflate = mixed.connect("bob", 0, Framing::kWebSocketDeflate);
  Client& far = mixed.connect("eve", {}, Framing::kWebSocketDeflate);
  for (Client& client : mixed.clients) mixed.tell(client, join("lobby"));
  for (Client& client : mixed.clients) client.take();
  for (int n = 1; n <= 10; ++n) mixed.send(plain, say("lobby", std::string(static_cast<std::size_t>(n) * 40, 'x')));
  mixed.send(deflate, {{"type", "typing_start"}, {"room_id", "lobby"}});
  mixed.settle();
  const std::vector<std::string> heard = plain.heard();
  EXPECT_EQ(heard.size(), 11U);
  EXPECT_EQ(deflate.heard(), heard);
  EXPECT_EQ(far.heard(), heard);
  EXPECT_EQ(plain.outbound->compressed_frames, 0U);
  EXPECT_GE(deflate.outbound->compressed_frames, 10U);
  EXPECT_LT(deflate.outbound->wire.size(), plain.outbound->wire.size());
}

TEST_P(ConnectionManagerTest, GivesATurnsMessagesToAMemberInOneBatch) {
  Client& ann = hub.connect("ann", 0);
  const std::string room = hub.id_at_home(0);
  hub.tell(ann, join(room));
  const std::size_t before = ann.outbound->deliver_calls;
  for (int n = 0; n < 50; ++n) hub.send(ann, say(room, n));
  hub.settle();
  EXPECT_EQ(ann.heard("message").size(), 50U);
  EXPECT_EQ(ann.outbound->deliver_calls, before + 1);
}

TEST_P(ConnectionManagerTest, KeepsRoomsApart) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  // Ids are opaque bytes: none of these may run into another.
  const std::vector<std::string> rooms = {"a", "a:b", "a b", "A", "a/", "é", "{}", "a\"b"};
  for (const std::string& room : rooms) hub.tell(ann, join(room));
  hub.tell(bob, join("a:b"));
  ann.take();
  EXPECT_EQ(hub.tell(bob, say("a:b", 1)), lines("message 1 a:b bob 1"));
  EXPECT_EQ(ann.heard(), lines("message 1 a:b bob 1"));
  for (const std::string& room : rooms) {
    if (room == "a:b") continue;
    EXPECT_EQ(hub.tell(ann, say(room, 1)), lines("message 1 " + room + " ann 1"));
  }
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(ConnectionManagerTest, ForgetsARoomWithItsLastSessionButNotItsStream) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("lobby"));
  hub.tell(ann, say("lobby", 1));
  hub.tell(ann, leave("lobby"));
  EXPECT_EQ(hub.tell(ann, join("lobby")), lines("joined lobby 1 [ann] 1", "user_joined ann lobby"));
  EXPECT_EQ(hub.tell(ann, say("lobby", 2)), lines("message 2 lobby ann 2"));
}

TEST_P(ConnectionManagerTest, LeavesAllRoomsOfASessionThatEnds) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  for (int i = 0; i < 5; ++i) {
    hub.tell(ann, join("r" + std::to_string(i)));
    hub.tell(bob, join("r" + std::to_string(i)));
  }
  bob.take();
  hub.end(ann);
  hub.settle();
  std::vector<std::string> heard = bob.heard();
  std::sort(heard.begin(), heard.end());
  EXPECT_EQ(heard,
            lines("user_left ann r0", "user_left ann r1", "user_left ann r2", "user_left ann r3", "user_left ann r4"));
  EXPECT_EQ(hub.tell(bob, join("r0")), lines("joined r0 0 [bob] 1 already"));
}

TEST_P(ConnectionManagerTest, SurvivesSessionsThatEndWithTheirJoinOnItsWay) {
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  bob.take();
  for (int i = 0; i < 4; ++i) {
    Client& ann = hub.connect("ann");
    hub.send(ann, join("lobby"));
    hub.turn(ann.shard);
    hub.end(ann);
    hub.settle();
  }
  const std::vector<std::string> heard = bob.heard();
  ASSERT_EQ(heard.size(), 8U);
  for (std::size_t i = 0; i < heard.size(); ++i) {
    EXPECT_EQ(heard[i], i % 2 == 0 ? "user_joined ann lobby" : "user_left ann lobby");
  }
  EXPECT_EQ(hub.tell(bob, join("lobby")), lines("joined lobby 0 [bob] 1 already"));
  EXPECT_EQ(hub.manager.session_count(), 1U);
}

TEST_P(ConnectionManagerTest, SaysConnectedFirstWhateverAnEagerClientSays) {
  Client& ann = hub.open("ann");
  Json ping = {{"type", "ping"}, {"id", 1}};
  hub.send(ann, ping);
  hub.send(ann, join("lobby"));
  hub.send(ann, say("lobby", "hi"));
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("connected ann not resumed", "pong 1", "joined lobby 0 [ann] 1", "user_joined ann lobby",
                               "message 1 lobby ann hi"));
}

// The answer to the handshake had left the socket, and what was held went on with it.
TEST_P(ConnectionManagerTest, SaysConnectedFirstAlsoWhenTheSocketDrainsBefore) {
  Client& ann = hub.open("ann");
  hub.pool[ann.shard].post([&ann] {
    ann.session->receive(R"({"type":"ping","id":1})");
    ann.session->drained();
  });
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("connected ann not resumed", "pong 1"));
}

TEST_P(ConnectionManagerTest, DropsWhatAnEagerClientSaidWhenItEndsAtOnce) {
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  bob.take();
  Client& ann = hub.open("ann", GetParam() - 1);
  hub.send(ann, join("lobby"));
  hub.end(ann);
  hub.settle();
  EXPECT_EQ(hub.tell(bob, join("lobby")).back(), "joined lobby 0 [bob] 1 already");
  EXPECT_EQ(hub.manager.session_count(), 1U);
}

TEST_P(ConnectionManagerTest, JoinsLeavesAndJoinsAgainInOneGo) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("lobby"));
  bob.take();
  hub.send(ann, join("lobby"));
  hub.send(ann, leave("lobby"));
  hub.send(ann, join("lobby"));
  hub.send(bob, say("lobby", 1));
  hub.settle();
  EXPECT_EQ(bob.heard("user"), lines("user_joined ann lobby", "user_left ann lobby", "user_joined ann lobby"));
  const std::vector<Json> events = ann.take();
  ASSERT_GE(events.size(), 2U);
  EXPECT_EQ(events[0]["type"], "joined");
  EXPECT_EQ(events[1]["type"], "joined");
  hub.tell(bob, say("lobby", 2));
  EXPECT_EQ(ann.heard(), lines("message 2 lobby bob 2"));
}

TEST_P(ConnectionManagerTest, TellsNobodyOfSessionsThatEndWhenTheServerStops) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(ann, join("lobby"));
  hub.tell(bob, join("lobby"));
  bob.take();
  hub.manager.begin_stop();
  hub.end(ann);
  hub.settle();
  EXPECT_EQ(bob.heard(), lines());
  EXPECT_EQ(hub.manager.session_count(), 1U);
}

TEST_P(ConnectionManagerTest, CountsSessionsCommandsErrorsAndDeliveries) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  EXPECT_EQ(hub.manager.session_count(), 2U);
  hub.tell(ann, join("lobby"));
  hub.tell(bob, join("lobby"));
  const std::uint64_t before = hub.count(&Counters::deliveries);
  hub.tell(ann, say("lobby", 1));
  hub.tell(ann, leave("nowhere"));
  EXPECT_EQ(hub.count(&Counters::deliveries), before + 2);
  EXPECT_EQ(hub.count(&Counters::commands), 4U);
  EXPECT_EQ(hub.count(&Counters::command_errors), 1U);
  hub.end(ann);
  hub.settle();
  EXPECT_EQ(hub.manager.session_count(), 1U);
}

TEST(ConnectionManager, DerivesASessionKeyFromTheIdThatNobodyCanGuess) {
  const HubFixture one;
  const HubFixture two;
  EXPECT_EQ(one.manager.session_key(1), one.manager.session_key(1));
  EXPECT_NE(one.manager.session_key(1), one.manager.session_key(2));
  EXPECT_NE(one.manager.session_key(1), two.manager.session_key(1));  // the secret is the process's own
}

}  // namespace
}  // namespace hubbub::hub
