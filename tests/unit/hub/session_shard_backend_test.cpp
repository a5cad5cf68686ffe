#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/backend.hpp"
#include "support/hub_fixture.hpp"

// What backends have done to sessions, and the `received` that they may wait for.
namespace hubbub::hub {
namespace {

using test::Backend;
using test::brief;
using test::BrokerFaults;
using test::Client;
using test::HubFixture;
using test::HubOptions;
using test::join;
using test::Json;
using test::leave;
using test::lines;
using test::say;
using test::to_room;
using test::to_user;

Json received(std::uint64_t seq) { return {{"type", "received"}, {"seq", seq}}; }

class SessionShardBackendTest : public testing::TestWithParam<unsigned> {
 protected:
  test::PublishAnswer publish(BackendPublish item) {
    std::vector<BackendPublish> items;
    items.push_back(std::move(item));
    auto answer = backend.publish(std::move(items));
    hub.settle();
    return answer;
  }
  std::size_t done(const test::CountAnswer& answer) {
    hub.settle();
    EXPECT_EQ(answer.times(), 1U);
    return **answer;
  }
  std::size_t sessions_in(const std::string& room) {
    const auto page =
        backend.ask(room, [room](HomeShard& home) { return home.members(base::SharedString(room), {.limit = 100}); });
    return page->count;
  }
  void take_all() {
    for (Client& client : hub.clients) client.take();
  }

  BrokerFaults faults;
  HubFixture hub{HubOptions{.shards = GetParam(), .faults = &faults}};
  Backend backend{hub};
};

INSTANTIATE_TEST_SUITE_P(Shards, SessionShardBackendTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// ------------------------------------------------------------------------------------------------------------- orders

TEST_P(SessionShardBackendTest, PutsAllSessionsOfAUserIntoARoom) {
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("r"));
  EXPECT_EQ(done(backend.put("r", "ann")), 2U);
  EXPECT_EQ(ann.heard("joined"), lines("joined r 0 [ann,bob] 2"));
  EXPECT_EQ(ann2.heard("joined"), lines("joined r 0 [ann,bob] 2"));
  EXPECT_EQ(bob.heard(), lines("user_joined ann r"));
  publish(to_room("r", "hi"));
  for (Client* client : {&ann, &ann2, &bob}) EXPECT_EQ(client->heard("message"), lines("message 1 r shop hi"));
}

TEST_P(SessionShardBackendTest, ReachesWhoWasPutIntoARoomWithWhatIsPublishedAfterTheAnswer) {
  Client& ann = hub.connect("ann");
  const auto answer = backend.put("r", "ann");
  while (!answer.has_come()) {
    for (unsigned i = 0; i < GetParam(); ++i) hub.turn(i);
  }
  publish(to_room("r", 1));
  EXPECT_EQ(ann.heard("message"), lines("message 1 r shop 1"));
}

TEST_P(SessionShardBackendTest, LeavesWhoIsInTheRoomAsTheyAre) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  EXPECT_EQ(done(backend.put("r", "ann")), 1U);
  EXPECT_EQ(ann.heard(), lines());
  EXPECT_EQ(sessions_in("r"), 1U);
}

TEST_P(SessionShardBackendTest, CountsASessionThatMayNotJoinAnyMoreAsNotJoined) {
  const Limits limits{.server_id = "n1", .max_rooms_per_session = 1};
  HubFixture small{HubOptions{.shards = GetParam(), .limits = limits}};
  Backend at_small{small};
  Client& ann = small.connect("ann");
  small.tell(ann, join("other"));
  const auto answer = at_small.put("r", "ann");
  small.settle();
  EXPECT_EQ(**answer, 0U);
}

TEST_P(SessionShardBackendTest, TakesAllSessionsOfAUserOutOfARoom) {
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  Client& bob = hub.connect("bob");
  for (Client* client : {&ann, &ann2, &bob}) hub.tell(*client, join("r"));
  take_all();
  EXPECT_EQ(done(backend.take_out("r", "ann")), 2U);
  EXPECT_EQ(ann.heard(), lines("removed r"));
  EXPECT_EQ(ann2.heard(), lines("removed r"));
  EXPECT_EQ(bob.heard(), lines("user_left ann r"));
  EXPECT_EQ(sessions_in("r"), 1U);
  publish(to_room("r", 1));
  EXPECT_EQ(ann.heard(), lines());
  EXPECT_EQ(done(backend.take_out("r", "ann")), 0U);
}

TEST_P(SessionShardBackendTest, TakesOutWhoseJoinIsStillUnderWay) {
  Client& ann = hub.connect("ann");
  faults.slow = true;
  hub.send(ann, join("r"));
  hub.settle();
  EXPECT_EQ(done(backend.take_out("r", "ann")), 1U);
  EXPECT_EQ(ann.heard(), lines("removed r"));
  faults.slow = false;
  faults.release();
  hub.settle();
  EXPECT_EQ(ann.heard(), lines());
  EXPECT_EQ(sessions_in("r"), 0U);
  hub.tell(ann, join("r"));
  EXPECT_EQ(sessions_in("r"), 1U);
}

TEST_P(SessionShardBackendTest, EndsAllSessionsOfAUser) {
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  Client& bob = hub.connect("bob");
  EXPECT_EQ(done(backend.disconnect("ann")), 2U);
  EXPECT_EQ(ann.outbound->closed, protocol::CloseCode::kDisconnected);
  EXPECT_EQ(ann2.outbound->closed, protocol::CloseCode::kDisconnected);
  EXPECT_FALSE(bob.outbound->closed);
  hub.end(ann);
  hub.end(ann2);
  EXPECT_EQ(done(backend.disconnect("ann")), 0U);
}

TEST_P(SessionShardBackendTest, CarriesOutNothingForAUserWhoIsNotThere) {
  EXPECT_EQ(done(backend.put("r", "nobody")), 0U);
  EXPECT_EQ(done(backend.take_out("r", "nobody")), 0U);
  EXPECT_EQ(done(backend.disconnect("nobody")), 0U);
}

TEST_P(SessionShardBackendTest, CountsNoSessionThatEndsOnTheWay) {
  Client& ann = hub.connect("ann");
  const auto answer = backend.put("r", "ann");
  hub.end(ann);
  EXPECT_LE(done(answer), 1U);
  EXPECT_EQ(sessions_in("r"), 0U);
}

// -------------------------------------------------------------------------------------------------------- erased rooms

TEST_P(SessionShardBackendTest, ErasesARoomWithItsPastAndItsMembers) {
  std::vector<Client*> members;
  for (const char* user : {"ann", "ann", "bob", "carl"}) {
    members.push_back(&hub.connect(user));
    hub.tell(*members.back(), join("r"));
  }
  hub.tell(*members[0], say("r", "old"));
  take_all();
  EXPECT_EQ(done(backend.erase_room("r")), 4U);
  for (Client* client : members) EXPECT_EQ(client->heard("removed"), lines("removed r"));
  EXPECT_EQ(sessions_in("r"), 0U);
  hub.tell(*members[1], join("r"));
  hub.send(*members[1], {{"type", "history"}, {"room_id", "r"}});
  hub.settle();
  EXPECT_EQ(members[1]->heard("history"), lines("history r [] not more"));
  publish(to_room("r", "new"));
  EXPECT_EQ(members[1]->heard("message"), lines("message 1 r shop new"));
}

TEST_P(SessionShardBackendTest, ErasesARoomThatNeverWas) { EXPECT_EQ(done(backend.erase_room("never")), 0U); }

TEST_P(SessionShardBackendTest, ErasesTheStreamOfARoomWithoutMembers) {
  publish(to_room("r", 1));
  EXPECT_EQ(done(backend.erase_room("r")), 0U);
  EXPECT_EQ(brief(*publish(to_room("r", 2))), lines("seq 1, 0 sessions, offline"));
}

TEST_P(SessionShardBackendTest, TellsWhenTheRoomCannotBeErased) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  faults.down = true;
  const auto answer = backend.erase_room("r");
  hub.settle();
  EXPECT_FALSE(*answer);
  EXPECT_EQ(ann.heard("removed"), lines());
}

TEST_P(SessionShardBackendTest, ErasesARoomWhileOthersAreStillJoining) {
  // At every point of a join's way; whoever is told `joined` last is in, whoever is told `removed` last is not.
  for (int turns = 0; turns < 8; ++turns) {
    HubFixture fresh{HubOptions{.shards = GetParam()}};
    Backend at_fresh{fresh};
    Client& ann = fresh.connect("ann", 0);
    Client& bob = fresh.connect("bob", GetParam() - 1);
    fresh.tell(ann, join("r"));
    ann.take();
    fresh.send(bob, join("r"));
    for (int n = 0; n < turns; ++n) fresh.turn(static_cast<unsigned>(n) % GetParam());
    const auto answer = at_fresh.erase_room("r");
    fresh.settle();
    ASSERT_EQ(answer.times(), 1U);
    std::string last;
    for (const std::string& line : bob.heard()) {
      if (line.starts_with("joined") || line.starts_with("removed")) last = line.substr(0, line.find(' '));
    }
    const auto members =
        at_fresh.ask("r", [](HomeShard& home) { return home.members(base::SharedString("r"), {.limit = 10}); });
    EXPECT_EQ(members->count, last == "joined" ? 1U : 0U) << turns << " turns";
    fresh.tell(bob, join("r"));
    fresh.tell(bob, say("r", 1));
    EXPECT_EQ(ann.heard("message"), lines()) << turns << " turns";
    const auto again =
        at_fresh.ask("r", [](HomeShard& home) { return home.members(base::SharedString("r"), {.limit = 10}); });
    EXPECT_EQ(again->count, 1U) << turns << " turns";
  }
}

TEST_P(SessionShardBackendTest, ErasesARoomWhoseFirstJoinWaitsForTheBroker) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("r"));
  faults.slow = true;
  Json since = join("r");
  since["since"] = 0;
  hub.send(ann, since);  // its stream is being read
  hub.settle();
  const auto answer = backend.erase_room("r");
  hub.settle();
  EXPECT_FALSE(answer.has_come());
  faults.slow = false;
  hub.pool[hub.home_of("r")].post([this] { faults.release(); });
  hub.settle();
  EXPECT_GE(**answer, 1U);
  EXPECT_EQ(bob.heard("removed"), lines("removed r"));
  const std::size_t in = sessions_in("r");
  hub.tell(ann, leave("r"));
  EXPECT_LE(in, 1U);
  EXPECT_EQ(sessions_in("r"), 0U);
}

// -------------------------------------------------------------------------------------------------------- reports

TEST_P(SessionShardBackendTest, ReportsAReceivedThatComesInTime) {
  Client& ann = hub.connect("ann");
  hub.connect("ann");
  const auto answer = publish(to_user("ann", "hi", 2'000));
  EXPECT_FALSE(answer.has_come());
  EXPECT_EQ(ann.heard(), lines("direct_message 1 shop ann hi"));
  hub.tell(ann, received(1));
  EXPECT_EQ(brief(*answer), lines("seq 1, 2 sessions, acked"));
  hub.advance_ms(5'000);
  EXPECT_EQ(answer.times(), 1U);
}

TEST_P(SessionShardBackendTest, ReportsThatNobodyReceivedIt) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, received(99));  // before anybody asked
  const auto answer = publish(to_user("ann", "hi", 2'000));
  hub.advance_ms(1'900);
  EXPECT_FALSE(answer.has_come());
  hub.advance_ms(200);
  EXPECT_EQ(brief(*answer), lines("seq 1, 1 session, reached"));
  hub.tell(ann, received(1));  // too late
  EXPECT_EQ(answer.times(), 1U);
}

TEST_P(SessionShardBackendTest, ReportsAReceivedThatIsThereBeforeThePublisherIsAnswered) {
  Client& ann = hub.connect("ann");
  faults.slow = true;
  const auto answer = publish(to_user("ann", "hi", 2'000));
  EXPECT_EQ(ann.heard(), lines("direct_message 1 shop ann hi"));
  hub.tell(ann, received(1));
  EXPECT_FALSE(answer.has_come());
  hub.pool[hub.home_of("ann")].post([this] { faults.release(); });
  hub.settle();
  EXPECT_EQ(brief(*answer), lines("seq 1, 1 session, acked"));
}

TEST_P(SessionShardBackendTest, ReportsAtOnceWhereThereIsNothingToWaitFor) {
  EXPECT_EQ(brief(*publish(to_user("ann", 1, 2'000))), lines("seq 1, 0 sessions, offline"));
  hub.connect("ann");
  EXPECT_EQ(brief(*publish(to_user("ann", 2))), lines("seq 2, 1 session, reached"));
  BackendPublish ephemeral = to_user("ann", 3, 2'000);
  ephemeral.publication.keep = false;
  EXPECT_EQ(brief(*publish(std::move(ephemeral))), lines("seq 0, 1 session, reached"));
  EXPECT_EQ(hub.manager.reports_waiting(), 0U);
}

TEST_P(SessionShardBackendTest, ReportsOfUsersApart) {
  Client& ann = hub.connect("ann");
  hub.connect("bob");
  std::vector<BackendPublish> items;
  for (const char* user : {"ann", "bob", "carl"}) items.push_back(to_user(user, 1, 1'000));
  const auto answer = backend.publish(std::move(items));
  hub.settle();
  hub.tell(ann, received(1));
  EXPECT_FALSE(answer.has_come());
  hub.advance_ms(1'100);
  EXPECT_EQ(brief(*answer),
            lines("seq 1, 1 session, acked", "seq 1, 1 session, reached", "seq 1, 0 sessions, offline"));
}

TEST_P(SessionShardBackendTest, ReportsReachedWhenTheUserLeavesWithoutAWord) {
  Client& ann = hub.connect("ann");
  const auto answer = publish(to_user("ann", 1, 1'000));
  hub.end(ann);
  hub.advance_ms(1'100);
  EXPECT_EQ(brief(*answer), lines("seq 1, 1 session, reached"));
}

TEST_P(SessionShardBackendTest, ReportsThatTheBrokerIsAway) {
  Client& ann = hub.connect("ann");
  faults.down = true;
  EXPECT_EQ(brief(*publish(to_user("ann", 1, 1'000))), lines("broker_unavailable"));
  EXPECT_EQ(hub.manager.reports_waiting(), 0U);
  EXPECT_EQ(ann.heard(), lines());
}

TEST_P(SessionShardBackendTest, TakesNoMoreReportsThanMayWait) {
  const Limits limits{.server_id = "n1", .reports_max = 1};
  HubFixture small{HubOptions{.shards = GetParam(), .limits = limits}};
  Backend at_small{small};
  Client& ann = small.connect("ann");
  small.connect("bob");
  std::vector<BackendPublish> items;
  items.push_back(to_user("ann", 1, 1'000));
  const auto first = at_small.publish(std::move(items));
  small.settle();
  items.clear();
  items.push_back(to_user("bob", 1, 1'000));
  const auto second = at_small.publish(std::move(items));
  small.settle();
  EXPECT_EQ(brief(*second), lines("overloaded"));
  small.tell(ann, received(1));
  EXPECT_EQ(brief(*first), lines("seq 1, 1 session, acked"));
  items.clear();
  items.push_back(to_user("bob", 2, 1'000));
  const auto third = at_small.publish(std::move(items));
  small.settle();
  EXPECT_FALSE(third.has_come());  // it waits
}

TEST_P(SessionShardBackendTest, AcknowledgesReceivedWhenAsked) {
  Client& ann = hub.connect("ann");
  Json command = received(3);
  EXPECT_EQ(hub.tell(ann, command), lines());
  command["id"] = 7;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 7"));
}

}  // namespace
}  // namespace hubbub::hub
