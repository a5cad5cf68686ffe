#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/backend.hpp"
#include "support/hub_fixture.hpp"

// What backends ask of the rooms and users of one shard.
namespace hubbub::hub {
namespace {

using base::SharedString;
using test::Backend;
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

constexpr unsigned kHome = 0;

class HomeShardBackendTest : public testing::TestWithParam<unsigned> {
 protected:
  /// `count` ids whose home is the shard that is asked, ascending.
  std::vector<std::string> ids(std::size_t count, const std::string& prefix) {
    std::vector<std::string> found;
    for (int i = 0; found.size() < count; ++i) {
      std::string id = prefix + std::to_string(i);
      if (hub.home_of(id) == kHome) found.push_back(std::move(id));
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  IdPage<RoomInfo> rooms(const std::string& prefix, PageRequest page) {
    return *backend.ask(ids(1, "any")[0], [prefix, page](HomeShard& home) { return home.rooms(prefix, page); });
  }
  IdPage<UserInfo> users(PageRequest page) {
    return *backend.ask(ids(1, "any")[0], [page](HomeShard& home) { return home.users(page); });
  }
  RoomMembers members(const std::string& room, PageRequest page) {
    return *backend.ask(room, [room, page](HomeShard& home) { return home.members(SharedString(room), page); });
  }
  test::Answer<base::Result<std::optional<RoomInfo>>> room(const std::string& id) {
    test::Answer<base::Result<std::optional<RoomInfo>>> answer;
    hub.manager.ask_home_later<base::Result<std::optional<RoomInfo>>>(
        0, SharedString(id), [id](HomeShard& home, auto done) { home.room(SharedString(id), std::move(done)); },
        [answer](const auto& info) mutable { answer.give(info); });
    hub.settle();
    return answer;
  }
  PresenceInfo presence(const std::string& user) {
    return *backend.ask(user, [user](HomeShard& home) { return home.presence(SharedString(user)); });
  }
  template <class Page>
  static std::vector<std::string> ids_of(const Page& page) {
    std::vector<std::string> found;
    for (const auto& item : page.items) found.emplace_back(item.id.view());
    return found;
  }
  static std::vector<std::string> texts(const std::vector<SharedString>& all) {
    std::vector<std::string> found;
    for (const SharedString& each : all) found.emplace_back(each.view());
    return found;
  }

  BrokerFaults faults;
  HubFixture hub{HubOptions{.shards = GetParam(), .faults = &faults}};
  Backend backend{hub};
};

INSTANTIATE_TEST_SUITE_P(Shards, HomeShardBackendTest, testing::Values(1U, 2U, 3U),
                         [](const auto& info) { return std::to_string(info.param); });

// -------------------------------------------------------------------------------------------------------------- pages

TEST_P(HomeShardBackendTest, GivesRoomsByPagesInTheOrderOfTheirIds) {
  Client& ann = hub.connect("ann");
  const std::vector<std::string> all = ids(23, "r");
  for (const std::string& id : all) hub.tell(ann, join(id));
  for (const std::size_t limit : {1U, 5U, 22U, 23U, 24U, 1000U}) {
    std::vector<std::string> seen;
    PageRequest request{.limit = limit};
    for (;;) {
      const IdPage<RoomInfo> page = rooms("r", request);
      const auto some = ids_of(page);
      EXPECT_LE(some.size(), limit);
      seen.insert(seen.end(), some.begin(), some.end());
      EXPECT_EQ(page.more, seen.size() < all.size());
      if (!page.more) break;
      request.after = seen.back();
    }
    EXPECT_EQ(seen, all) << limit;
  }
}

TEST_P(HomeShardBackendTest, TellsWhatItKnowsOfARoom) {
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  Client& bob = hub.connect("bob");
  const std::string id = ids(1, "r")[0];
  for (Client* client : {&ann, &ann2, &bob}) hub.tell(*client, join(id));
  hub.tell(ann, say(id, 1));
  const IdPage<RoomInfo> page = rooms("", {.limit = 10});
  ASSERT_EQ(ids_of(page), lines(id));
  EXPECT_EQ(page.items[0].members, 2U);
  EXPECT_EQ(page.items[0].sessions, 3U);
  EXPECT_EQ(page.items[0].position.seq, 1U);
}

TEST_P(HomeShardBackendTest, GivesRoomsOfAPrefix) {
  Client& ann = hub.connect("ann");
  for (const char* prefix : {"a", "b", "b/", "c"}) {
    for (const std::string& id : ids(3, prefix)) hub.tell(ann, join(id));
  }
  EXPECT_EQ(rooms("b", {.limit = 100}).items.size(), 6U);
  EXPECT_EQ(ids_of(rooms("b/", {.limit = 100})), ids(3, "b/"));
  EXPECT_EQ(rooms("", {.limit = 100}).items.size(), 12U);
  EXPECT_EQ(rooms("d", {.limit = 100}).items.size(), 0U);
  EXPECT_EQ(ids_of(rooms("c", {.after = "b", .limit = 100})), ids(3, "c"));
  EXPECT_EQ(rooms("a", {.after = "b", .limit = 100}).items.size(), 0U);
}

TEST_P(HomeShardBackendTest, ComparesIdsAsBytes) {
  Client& ann = hub.connect("ann");
  std::vector<std::string> all;
  for (const char* prefix : {"A", "a", "\xC3\xBC", "\xF0\x9F\x98\x80", "~"}) all.push_back(ids(1, prefix)[0]);
  std::sort(all.begin(), all.end(), [](const std::string& a, const std::string& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
      return static_cast<unsigned char>(x) < static_cast<unsigned char>(y);
    });
  });
  for (auto id = all.rbegin(); id != all.rend(); ++id) hub.tell(ann, join(*id));
  EXPECT_EQ(ids_of(rooms("", {.limit = 100})), all);
}

TEST_P(HomeShardBackendTest, GivesOnlyRoomsThatSomebodyIsIn) {
  Client& ann = hub.connect("ann");
  const std::vector<std::string> all = ids(3, "r");
  hub.tell(ann, join(all[0]));
  hub.tell(ann, join(all[1]));
  hub.tell(ann, leave(all[0]));
  faults.slow = true;
  hub.send(ann, join(all[2]));  // waits for its subscription
  hub.settle();
  EXPECT_EQ(ids_of(rooms("", {.limit = 10})), lines(all[1]));
}

TEST_P(HomeShardBackendTest, GivesUsersByPages) {
  const std::vector<std::string> all = ids(9, "u");
  for (const std::string& id : all) hub.connect(id);
  Client& second = hub.connect(all[4]);
  hub.tell(second, {{"type", "set_status"}, {"status", "busy"}});
  hub.tell(second, {{"type", "presence_watch"}, {"user_ids", {ids(1, "absent")[0]}}});  // known, but not there
  std::vector<std::string> seen;
  PageRequest request{.limit = 4};
  for (;;) {
    const IdPage<UserInfo> page = users(request);
    for (const UserInfo& user : page.items) {
      EXPECT_EQ(user.status, Status::kOnline);
      EXPECT_EQ(user.sessions, user.id.view() == all[4] ? 2U : 1U);
      seen.emplace_back(user.id.view());
    }
    if (!page.more) break;
    request.after = seen.back();
  }
  EXPECT_EQ(seen, all);
}

TEST_P(HomeShardBackendTest, GivesMembersByPages) {
  std::vector<std::string> all;
  for (int n = 0; n < 30; ++n) {
    all.push_back("m" + std::to_string(n));
    hub.tell(hub.connect(all.back()), join("r"));
  }
  hub.tell(hub.connect("m7"), join("r"));  // once only
  std::sort(all.begin(), all.end());
  for (const std::size_t limit : {1U, 7U, 30U, 100U}) {
    std::vector<std::string> seen;
    PageRequest request{.limit = limit};
    for (;;) {
      const RoomMembers page = members("r", request);
      EXPECT_EQ(page.count, all.size());
      for (std::string& user : texts(page.users)) seen.push_back(std::move(user));
      EXPECT_EQ(page.more, seen.size() < all.size());
      if (!page.more) break;
      request.after = seen.back();
    }
    EXPECT_EQ(seen, all) << limit;
  }
  EXPECT_EQ(members("nobody", {.limit = 5}).count, 0U);
}

// ------------------------------------------------------------------------------------------------------- rooms, users

TEST_P(HomeShardBackendTest, TellsARoomFromWhatItsStreamKeeps) {
  EXPECT_FALSE(room("r")->value());
  std::vector<BackendPublish> items;
  items.push_back(to_room("r", 1));
  backend.publish(std::move(items));
  hub.settle();
  const auto kept = room("r");
  ASSERT_TRUE(kept->value());
  EXPECT_EQ(kept->value()->position.seq, 1U);
  EXPECT_EQ(kept->value()->sessions, 0U);
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  const auto lived_in = room("r");
  EXPECT_EQ(lived_in->value()->sessions, 1U);
  EXPECT_EQ(lived_in->value()->position, kept->value()->position);
  faults.down = true;
  EXPECT_TRUE(room("r")->value());  // nobody need be asked
  EXPECT_FALSE(*room("elsewhere"));
}

TEST_P(HomeShardBackendTest, TellsWhoTypes) {
  Client& ann = hub.connect("ann");
  hub.tell(ann, join("r"));
  const auto typing = [&] {
    return texts(*backend.ask("r", [](HomeShard& home) { return home.typing_users(SharedString("r")); }));
  };
  EXPECT_EQ(typing(), lines());
  hub.tell(ann, {{"type", "typing_start"}, {"room_id", "r"}});
  EXPECT_EQ(typing(), lines("ann"));
  hub.advance_ms(3'200);
  EXPECT_EQ(typing(), lines());
}

TEST_P(HomeShardBackendTest, TellsPresence) {
  EXPECT_EQ(presence("ann").status, Status::kOffline);
  EXPECT_FALSE(presence("ann").last_seen_ms);
  Client& ann = hub.connect("ann");
  Client& ann2 = hub.connect("ann");
  EXPECT_EQ(presence("ann").status, Status::kOnline);
  hub.tell(ann, {{"type", "set_status"}, {"status", "away"}});
  EXPECT_EQ(presence("ann").status, Status::kOnline);
  hub.tell(ann2, {{"type", "set_status"}, {"status", "busy"}});
  EXPECT_EQ(presence("ann").status, Status::kBusy);
  hub.end(ann2);
  hub.settle();
  EXPECT_EQ(presence("ann").status, Status::kAway);
  hub.end(ann);
  hub.settle();
  const std::int64_t left_ms = hub.clock.unix_ms();
  hub.advance_ms(5'000);
  EXPECT_EQ(presence("ann").status, Status::kOffline);
  ASSERT_TRUE(presence("ann").last_seen_ms);
  EXPECT_LE(*presence("ann").last_seen_ms, left_ms);
}

TEST_P(HomeShardBackendTest, TellsSessionsAndTotals) {
  const std::vector<std::string> all = ids(2, "u");
  hub.connect(all[0]);
  Client& second = hub.connect(all[0]);
  Client& other = hub.connect(all[1]);
  hub.tell(second, {{"type", "set_status"}, {"status", "busy"}});
  const auto sessions = *backend.ask(all[0], [&](HomeShard& home) { return home.sessions_of(SharedString(all[0])); });
  ASSERT_EQ(sessions.size(), 2U);
  EXPECT_EQ(sessions[0].status, Status::kOnline);
  EXPECT_EQ(sessions[1].status, Status::kBusy);
  const auto totals = [&] { return *backend.ask(all[0], [](HomeShard& home) { return home.user_totals(); }); };
  EXPECT_EQ(totals().users, 2U);
  EXPECT_EQ(totals().sessions, 3U);
  hub.end(other);
  hub.end(second);
  hub.settle();
  EXPECT_EQ(totals().users, 1U);
  EXPECT_EQ(totals().sessions, 1U);
}

}  // namespace
}  // namespace hubbub::hub
