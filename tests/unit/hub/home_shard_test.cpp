#include "hubbub/hub/home_shard.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/hub_fixture.hpp"

// What the home shard keeps of rooms and users: typing, presence, the numbers of large rooms.
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

Json typing_start(std::string_view room) { return {{"type", "typing_start"}, {"room_id", room}}; }
Json typing_stop(std::string_view room) { return {{"type", "typing_stop"}, {"room_id", room}}; }
Json watch(const std::vector<std::string>& users) { return {{"type", "presence_watch"}, {"user_ids", users}}; }
Json unwatch(const std::vector<std::string>& users) { return {{"type", "presence_unwatch"}, {"user_ids", users}}; }
Json query(const std::vector<std::string>& users) { return {{"type", "presence_query"}, {"user_ids", users}}; }
Json status(std::string_view status) { return {{"type", "set_status"}, {"status", status}}; }

class HomeShardTest : public testing::TestWithParam<unsigned> {
 protected:
  /// A session of `user` in room `r`, that has heard all that its join brought.
  Client& member(const std::string& user) {
    Client& client = hub.connect(user);
    hub.tell(client, join("r"));
    for (Client& each : hub.clients) each.take();
    return client;
  }

  HubFixture hub{HubOptions{.shards = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Shards, HomeShardTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// ------------------------------------------------------------------------------------------------------------- typing

TEST_P(HomeShardTest, TellsTheRoomOnceThatAUserTypes) {
  Client& ann = member("ann");
  Client& bob = member("bob");
  for (int n = 0; n < 3; ++n) hub.tell(ann, typing_start("r"));
  EXPECT_EQ(bob.heard(), lines("typing_start ann r"));
  hub.tell(ann, typing_stop("r"));
  hub.tell(ann, typing_stop("r"));
  EXPECT_EQ(bob.heard(), lines("typing_stop ann r"));
  hub.tell(ann, typing_start("r"));
  EXPECT_EQ(bob.heard(), lines("typing_start ann r"));
}

TEST_P(HomeShardTest, AcknowledgesTypingWhenAsked) {
  Client& ann = member("ann");
  Json command = typing_stop("r");
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1"));
}

TEST_P(HomeShardTest, EndsTypingByTime) {
  Client& ann = member("ann");
  Client& bob = member("bob");
  hub.tell(ann, typing_start("r"));
  hub.advance_ms(2'900);
  EXPECT_EQ(bob.heard(), lines("typing_start ann r"));
  hub.tell(ann, typing_start("r"));  // keeps it up
  hub.advance_ms(2'900);
  EXPECT_EQ(bob.heard(), lines());
  hub.advance_ms(120);
  EXPECT_EQ(bob.heard(), lines("typing_stop ann r"));
  hub.advance_ms(10'000);
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(HomeShardTest, EndsTypingByAMessage) {
  Client& ann = member("ann");
  Client& bob = member("bob");
  hub.tell(ann, typing_start("r"));
  hub.tell(ann, say("r", "hi"));
  EXPECT_EQ(bob.heard(), lines("typing_start ann r", "typing_stop ann r", "message 1 r ann hi"));
  hub.advance_ms(10'000);
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(HomeShardTest, EndsTypingWithTheUsersLastSession) {
  Client& ann = member("ann");
  Client& ann_too = member("ann");
  Client& bob = member("bob");
  hub.tell(ann, typing_start("r"));
  hub.tell(ann, leave("r"));
  EXPECT_EQ(bob.heard(), lines("typing_start ann r"));
  hub.end(ann_too);
  hub.settle();
  EXPECT_EQ(bob.heard(), lines("typing_stop ann r", "user_left ann r"));
}

TEST_P(HomeShardTest, TakesTypingForTheUserNotTheSession) {
  Client& ann = member("ann");
  Client& ann_too = member("ann");
  Client& bob = member("bob");
  hub.tell(ann, typing_start("r"));
  hub.tell(ann_too, typing_start("r"));
  hub.tell(ann_too, say("r", 1));
  EXPECT_EQ(bob.heard(), lines("typing_start ann r", "typing_stop ann r", "message 1 r ann 1"));
}

TEST_P(HomeShardTest, RefusesTypingInARoomOneIsNotIn) {
  Client& ann = hub.connect("ann");
  Client& bob = member("bob");
  EXPECT_EQ(hub.tell(ann, typing_start("r")), lines("error not_in_room"));
  EXPECT_EQ(bob.heard(), lines());
}

TEST_P(HomeShardTest, ForgetsTypingWithTheRoom) {
  Client& ann = member("ann");
  hub.tell(ann, typing_start("r"));
  hub.tell(ann, leave("r"));
  hub.advance_ms(10'000);
  EXPECT_EQ(hub.tell(ann, join("r")), lines("joined r 0 [ann] 1", "user_joined ann r"));
}

// ----------------------------------------------------------------------------------------------------------- presence

TEST_P(HomeShardTest, AnswersAQueryWithOneEventAUserAndTheCount) {
  Client& ann = hub.connect("ann");
  hub.connect("bob");
  Json command = query({"ann", "bob", "c", "d", "e"});
  command["id"] = 1;
  std::vector<std::string> heard = hub.tell(ann, command);
  ASSERT_EQ(heard.size(), 6U);
  EXPECT_EQ(heard.back(), "ack 1 count=5");
  std::sort(heard.begin(), heard.end());
  EXPECT_EQ(heard, lines("ack 1 count=5", "presence ann online", "presence bob online", "presence c offline",
                         "presence d offline", "presence e offline"));
  EXPECT_EQ(hub.tell(ann, query({"bob"})), lines("presence bob online"));
  command["user_ids"] = Json::array();
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1 count=0"));
}

TEST_P(HomeShardTest, KnowsWhenAUserWasLastSeen) {
  Client& ann = hub.connect("ann");
  Client& bob = hub.connect("bob");
  const auto last_seen = [&](const std::string& user) {
    hub.send(ann, query({user}));
    hub.settle();
    return ann.take().at(0)["last_seen"];
  };
  EXPECT_EQ(last_seen("never"), nullptr);
  hub.advance_ms(1'000);
  EXPECT_EQ(last_seen("bob"), "2023-11-14T22:13:21.000Z");  // online: now
  hub.end(bob);
  hub.settle();
  hub.advance_ms(60'000);
  EXPECT_EQ(last_seen("bob"), "2023-11-14T22:13:21.000Z");
}

TEST_P(HomeShardTest, BoundsHowManyLastSeenItKeeps) {
  HubOptions options{.shards = GetParam()};
  options.limits.last_seen_max = 1;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  const unsigned home = small.home_of("u0");
  std::vector<std::string> users;
  for (int i = 0; users.size() < 2; ++i) {
    const std::string user = "u" + std::to_string(i);
    if (small.home_of(user) == home) users.push_back(user);
  }
  for (const std::string& user : users) {
    Client& client = small.connect(user);
    small.end(client);
    small.settle();
  }
  small.send(ann, query({users[0]}));
  small.send(ann, query({users[1]}));
  small.settle();
  const std::vector<Json> events = ann.take();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_TRUE(events[0]["last_seen"].is_null());
  EXPECT_FALSE(events[1]["last_seen"].is_null());
}

// Who came back and left again counted as gone since the first time.
TEST_P(HomeShardTest, ForgetsTheLongestGoneFirst) {
  HubOptions options{.shards = GetParam()};
  options.limits.last_seen_max = 2;
  HubFixture small(options);
  Client& ann = small.connect("ann");
  std::vector<std::string> users;
  for (int i = 0; users.size() < 3; ++i) {
    const std::string user = "u" + std::to_string(i);
    if (small.home_of(user) == small.home_of("u0")) users.push_back(user);
  }
  const auto come_and_go = [&](const std::string& user) {
    small.end(small.connect(user));
    small.settle();
  };
  const auto known = [&](const std::string& user) {
    small.send(ann, query({user}));
    small.settle();
    return !ann.take().at(0)["last_seen"].is_null();
  };
  come_and_go(users[0]);
  come_and_go(users[1]);
  for (int i = 0; i < 100; ++i) come_and_go(users[0]);
  come_and_go(users[2]);
  EXPECT_TRUE(known(users[0]));
  EXPECT_FALSE(known(users[1]));
  EXPECT_TRUE(known(users[2]));
}

TEST_P(HomeShardTest, MakesAUserTheBestOfTheirSessions) {
  Client& ann = hub.connect("ann");
  Client& one = hub.connect("bob");
  Client& two = hub.connect("bob");
  EXPECT_EQ(hub.tell(ann, watch({"bob"})), lines("presence bob online"));
  hub.tell(one, status("away"));
  EXPECT_EQ(ann.heard(), lines());  // the other one is online
  hub.tell(two, status("busy"));
  EXPECT_EQ(ann.heard(), lines("presence bob busy"));
  hub.end(two);
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("presence bob away"));
  Json command = status("online");
  command["id"] = 1;
  EXPECT_EQ(hub.tell(one, command), lines("ack 1"));
  EXPECT_EQ(ann.heard(), lines("presence bob online"));
  hub.end(one);
  hub.settle();
  EXPECT_EQ(ann.heard(), lines("presence bob offline"));
  hub.connect("bob");
  EXPECT_EQ(ann.heard(), lines("presence bob online"));
}

TEST_P(HomeShardTest, TellsWatchersWhatIsAndEveryChangeUntilTheyStop) {
  Client& ann = hub.connect("ann");
  Client& eve = hub.connect("eve");
  EXPECT_EQ(hub.tell(ann, watch({"bob"})), lines("presence bob offline"));
  Client& bob = hub.connect("bob");
  EXPECT_EQ(ann.heard(), lines("presence bob online"));
  EXPECT_EQ(eve.heard(), lines());
  EXPECT_EQ(hub.tell(ann, watch({"bob"})), lines("presence bob online"));  // again: told again, once
  hub.tell(bob, status("busy"));
  hub.tell(bob, status("busy"));
  EXPECT_EQ(ann.heard(), lines("presence bob busy"));
  Json command = unwatch({"bob", "nobody"});
  command["id"] = 1;
  EXPECT_EQ(hub.tell(ann, command), lines("ack 1"));
  hub.tell(bob, status("online"));
  EXPECT_EQ(ann.heard(), lines());
}

TEST_P(HomeShardTest, LetsAUserWatchThemselves) {
  Client& ann = hub.connect("ann");
  EXPECT_EQ(hub.tell(ann, watch({"ann"})), lines("presence ann online"));
  EXPECT_EQ(hub.tell(ann, status("away")), lines("presence ann away"));
}

TEST_P(HomeShardTest, ForgetsTheWatchesOfASessionThatEnds) {
  Client& ann = hub.connect("ann");
  Client& eve = hub.connect("eve");
  hub.tell(ann, watch({"bob"}));
  hub.tell(eve, watch({"bob"}));
  hub.end(ann);
  hub.settle();
  hub.connect("bob");
  EXPECT_EQ(eve.heard(), lines("presence bob online"));
}

// -------------------------------------------------------------------------------------------------------- large rooms

TEST_P(HomeShardTest, TellsLargeRoomsTheirNumberInsteadOfEachJoin) {
  HubOptions options{.shards = GetParam()};
  options.limits.room_announce_max = 3;
  options.limits.joined_members_max = 2;
  HubFixture large(options);
  Client& first = large.connect("u0");
  large.tell(first, join("r"));
  for (int i = 1; i < 3; ++i) large.tell(large.connect("u" + std::to_string(i)), join("r"));
  EXPECT_EQ(first.heard(), lines("user_joined u1 r", "user_joined u2 r"));
  Client& fourth = large.connect("u3");
  large.send(fourth, join("r"));
  large.settle();
  const Json joined = fourth.take().at(0);
  EXPECT_EQ(joined["members"].size(), 2U);
  EXPECT_EQ(joined["member_count"], 4);
  Client& fifth = large.connect("u4");
  large.tell(fifth, join("r"));
  EXPECT_EQ(first.heard(), lines());
  large.advance_ms(1'010);
  EXPECT_EQ(first.heard(), lines("members r 5"));  // once for both
  large.tell(fifth, leave("r"));
  EXPECT_EQ(first.heard(), lines());
  large.advance_ms(1'010);
  EXPECT_EQ(first.heard(), lines("members r 4"));
  large.advance_ms(5'000);
  EXPECT_EQ(first.heard(), lines());
  large.tell(fourth, leave("r"));
  EXPECT_EQ(first.heard(), lines("user_left u3 r"));
}

TEST_P(HomeShardTest, ForgetsTheDueNumberWithTheRoom) {
  HubOptions options{.shards = GetParam()};
  options.limits.room_announce_max = 1;
  HubFixture large(options);
  Client& ann = large.connect("ann");
  Client& bob = large.connect("bob");
  large.tell(ann, join("r"));
  large.tell(bob, join("r"));
  large.tell(ann, leave("r"));
  large.tell(bob, leave("r"));
  large.advance_ms(2'000);
  EXPECT_EQ(large.tell(ann, join("r")), lines("joined r 0 [ann] 1", "user_joined ann r"));
}

// -------------------------------------------------------------------------------------------------------- ShardCounts

TEST(ShardCounts, NamesEachShardThatHasMembersOnce) {
  ShardCounts counts;
  const auto shards = [&] {
    std::vector<unsigned> all;
    counts.for_each([&](unsigned shard) { all.push_back(shard); });
    std::sort(all.begin(), all.end());
    return all;
  };
  EXPECT_TRUE(counts.empty());
  for (const unsigned shard : {2U, 0U, 2U, 255U, 0U}) counts.add(shard);
  EXPECT_EQ(shards(), (std::vector<unsigned>{0, 2, 255}));
  counts.remove(2);
  EXPECT_EQ(shards(), (std::vector<unsigned>{0, 2, 255}));
  counts.remove(2);
  EXPECT_EQ(shards(), (std::vector<unsigned>{0, 255}));
  counts.remove(7);  // has none
  counts.add(2);
  counts.remove(255);
  counts.remove(0);
  counts.remove(0);
  EXPECT_EQ(shards(), (std::vector<unsigned>{2}));
  EXPECT_FALSE(counts.empty());
  counts.remove(2);
  EXPECT_TRUE(counts.empty());
  EXPECT_EQ(shards(), (std::vector<unsigned>{}));
}

}  // namespace
}  // namespace hubbub::hub
