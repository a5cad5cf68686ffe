#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/backend.hpp"
#include "support/hub_fixture.hpp"

// What backends ask: how it gets to the shards, and how their answers get back.
namespace hubbub::hub {
namespace {

using test::Backend;
using test::brief;
using test::Client;
using test::HubFixture;
using test::HubOptions;
using test::join;
using test::lines;
using test::to_room;
using test::to_user;

class ConnectionManagerBackendTest : public testing::TestWithParam<unsigned> {
 protected:
  /// The mailbox of a shard takes no more.
  void fill(unsigned shard) {
    while (hub.pool[shard].try_post([] {})) {
    }
  }

  HubFixture hub{HubOptions{.shards = GetParam(), .mailbox_max = 64}};
  Backend backend{hub, GetParam() - 1};
};

INSTANTIATE_TEST_SUITE_P(Shards, ConnectionManagerBackendTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

TEST_P(ConnectionManagerBackendTest, AnswersAPublishToManyShardsInTheOrderOfItsItems) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r1"));
  std::vector<BackendPublish> items;
  std::vector<std::string> wanted;
  for (int n = 0; n < 40; ++n) {
    const std::string room = "r" + std::to_string(n % 4);
    items.push_back(to_room(room, n));
    wanted.push_back("seq " + std::to_string(n / 4 + 1) + (n % 4 == 1 ? ", 1 session" : ", 0 sessions") + ", offline");
  }
  items.push_back(to_user("ann", "hi"));
  wanted.emplace_back("seq 1, 1 session, reached");
  const auto answer = backend.publish(std::move(items));
  EXPECT_FALSE(answer.has_come());
  hub.settle();
  EXPECT_EQ(brief(*answer), wanted);
  EXPECT_EQ(answer.times(), 1U);
  const auto heard = ann.heard("message");
  ASSERT_EQ(heard.size(), 10U);
  for (std::size_t n = 0; n < heard.size(); ++n) {
    EXPECT_EQ(heard[n], "message " + std::to_string(n + 1) + " r1 shop " + std::to_string(n * 4 + 1));
  }
}

TEST_P(ConnectionManagerBackendTest, AnswersAPublishOfNothing) {
  const auto answer = backend.publish({});
  hub.settle();
  EXPECT_EQ(answer->size(), 0U);
}

TEST_P(ConnectionManagerBackendTest, TellsARepeatedMessage) {
  const auto once = [] {
    BackendPublish item = to_room("r", 1);
    item.publication.dedupe_key = "k";
    return item;
  };
  std::vector<BackendPublish> items;
  items.push_back(once());
  items.push_back(to_room("r", 2));
  items.push_back(once());
  const auto answer = backend.publish(std::move(items));
  hub.settle();
  EXPECT_EQ(brief(*answer),
            lines("seq 1, 0 sessions, offline", "seq 2, 0 sessions, offline", "seq 1, 0 sessions, offline, duplicate"));
}

TEST_P(ConnectionManagerBackendTest, RefusesOnlyWhatIsForAFullMailbox) {
  if (GetParam() == 1) return;  // a shard's own mail is never refused
  const std::string there = hub.id_at_home(0, "a");
  const std::string here = hub.id_at_home(GetParam() - 1, "b");
  std::vector<BackendPublish> items;
  for (int n = 0; n < 2; ++n) {
    items.push_back(to_room(there, n));
    items.push_back(to_room(here, n));
  }
  const auto answer = backend.publish(std::move(items));
  fill(0);
  hub.turn(GetParam() - 1);  // here it is asked, while the other has no place
  hub.settle();
  EXPECT_EQ(brief(*answer),
            lines("overloaded", "seq 1, 0 sessions, offline", "overloaded", "seq 2, 0 sessions, offline"));
}

TEST_P(ConnectionManagerBackendTest, AnswersAlsoWhenEveryMailboxIsFull) {
  if (GetParam() == 1) return;
  std::vector<BackendPublish> items;
  items.push_back(to_room(hub.id_at_home(0), 1));
  const auto answer = backend.publish(std::move(items));
  fill(0);
  hub.turn(GetParam() - 1);
  ASSERT_TRUE(answer.has_come());
  EXPECT_EQ(brief(*answer), lines("overloaded"));
}

TEST_P(ConnectionManagerBackendTest, BroadcastsToEachAttachedSessionOnce) {
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  Client& bob = hub.connect("bob");
  hub.tell(bob, join("r"));
  hub.tell(bob, join("r2"));
  bob.take();
  Client& new_one = hub.open("carl");
  const auto early = backend.broadcast("1");  // carl is not attached, or perhaps just so
  hub.settle();
  EXPECT_GE(**early, 3U);
  for (Client* client : {&ann, &ann2, &bob}) EXPECT_EQ(client->heard(), lines("broadcast ops 1"));
  new_one.take();
  const auto late = backend.broadcast("2");
  hub.settle();
  EXPECT_EQ(**late, 4U);
  EXPECT_EQ(late.times(), 1U);
  for (Client* client : {&ann, &ann2, &bob, &new_one}) EXPECT_EQ(client->heard(), lines("broadcast ops 2"));
}

TEST_P(ConnectionManagerBackendTest, AnswersABroadcastThatAFullMailboxDrops) {
  for (unsigned i = 0; i < GetParam(); ++i) hub.connect("u" + std::to_string(i), i);
  fill(0);
  const auto answer = backend.broadcast("1");
  hub.settle();
  EXPECT_EQ(**answer, GetParam() - 1);
  EXPECT_EQ(hub.manager.sessions(hub.pool[0]).dropped_at_mailbox(), 1U);
}

TEST_P(ConnectionManagerBackendTest, KeepsEveryBroadcastForWhoIsAway) {
  Client& ann = hub.connect("ann");
  hub.pool[ann.shard].post([&ann] { ann.session->suspend(); });
  hub.settle();
  for (const char* text : {"1", "2", "3"}) backend.broadcast(text);
  hub.settle();
  EXPECT_EQ(ann.heard(), lines());
  hub.pool[ann.shard].post([&ann] { ann.session->resume(nullptr, false); });
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("broadcast ops 1", "broadcast ops 2", "broadcast ops 3"));
}

TEST_P(ConnectionManagerBackendTest, AnswersReportsThatWaitWhenTheServerStops) {
  hub.connect("ann");
  hub.connect("bob");
  std::vector<BackendPublish> items;
  for (const char* user : {"ann", "bob", "carl"}) items.push_back(to_user(user, 1, 60'000));
  const auto answer = backend.publish(std::move(items));
  hub.settle();
  EXPECT_FALSE(answer.has_come());
  EXPECT_EQ(hub.manager.reports_waiting(), 2U);
  hub.manager.begin_stop();
  hub.settle();
  EXPECT_EQ(brief(*answer),
            lines("seq 1, 1 session, reached", "seq 1, 1 session, reached", "seq 1, 0 sessions, offline"));
  items.clear();
  items.push_back(to_user("ann", 2, 60'000));
  const auto late = backend.publish(std::move(items));
  hub.settle();
  EXPECT_EQ(brief(*late), lines("seq 2, 1 session, reached"));
  EXPECT_EQ(hub.manager.reports_waiting(), 0U);
}

}  // namespace
}  // namespace hubbub::hub
