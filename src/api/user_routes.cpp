#include "hubbub/api/user_routes.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hubbub/api/request_body.hpp"
#include "hubbub/base/random.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/protocol/schema.hpp"
#include "hubbub/protocol/timestamp.hpp"

namespace hubbub::api {

using base::SharedString;
using hub::HomeShard;
using Json = nlohmann::ordered_json;

namespace {

Json presence_json(const hub::PresenceInfo& info) {
  Json last_seen = nullptr;
  if (info.last_seen_ms) {
    std::string time;
    protocol::append_iso8601_ms(time, *info.last_seen_ms);
    last_seen = std::move(time);
  }
  return {{"user_id", info.user.view()}, {"status", status_name(info.status)}, {"last_seen", std::move(last_seen)}};
}

void list_users(Call& call) {
  const auto page = call.page();
  if (!page) return;
  const Reply reply = call.defer();
  call.manager().ask_homes(
      call.shard(), [page = *page](HomeShard& home) { return home.users(page); },
      [reply, limit = page->limit](std::vector<hub::IdPage<hub::UserInfo>> pages) {
        const hub::IdPage<hub::UserInfo> merged = merge(std::move(pages), limit);
        Json users = Json::array();
        for (const hub::UserInfo& user : merged.items) {
          users.push_back(
              {{"user_id", user.id.view()}, {"status", status_name(user.status)}, {"sessions", user.sessions}});
        }
        reply.send({.body = Json{{"users", std::move(users)}, {"next", next_of(merged)}}.dump()});
      });
}

void count_users(Call& call) {
  const Reply reply = call.defer();
  call.manager().ask_homes(
      call.shard(), [](HomeShard& home) { return home.user_totals(); },
      [reply](const std::vector<hub::UserTotals>& totals) {
        hub::UserTotals sum;
        for (const hub::UserTotals& each : totals) {
          sum.users += each.users;
          sum.sessions += each.sessions;
        }
        reply.send({.body = Json{{"count", sum.users}, {"sessions", sum.sessions}}.dump()});
      });
}

void presence(Call& call) {
  const auto user = call.id(0, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().ask_home(
      call.shard(), *user, [user = *user](HomeShard& home) { return home.presence(user); },
      [reply](const hub::PresenceInfo& info) { reply.send({.body = presence_json(info).dump()}); });
}

void query_presence(Call& call) {
  RequestBody body;
  std::vector<SharedString> users;
  auto fault = body.read(call.request().body());
  if (!fault) fault = read_users(body.user_ids, protocol::kUserIdsMax, users);
  if (fault) return call.refuse(fault->code, fault->text);
  const Reply reply = call.defer();
  const auto asked = std::make_shared<const std::vector<SharedString>>(std::move(users));
  hub::ConnectionManager& manager = call.manager();
  manager.ask_homes(
      call.shard(),
      [asked, &manager](HomeShard& home) {
        std::vector<hub::PresenceInfo> found;
        for (const SharedString& user : *asked) {
          if (manager.home_index(user) == home.index()) found.push_back(home.presence(user));
        }
        return found;
      },
      [reply, asked](const std::vector<std::vector<hub::PresenceInfo>>& found) {
        boost::unordered_flat_map<std::string_view, const hub::PresenceInfo*> by_user;
        for (const auto& part : found) {
          for (const hub::PresenceInfo& info : part) by_user.emplace(info.user.view(), &info);
        }
        Json all = Json::array();
        Json online = Json::array();
        for (const SharedString& user : *asked) {
          const hub::PresenceInfo& info = *by_user.at(user.view());
          all.push_back(presence_json(info));
          if (info.status != hub::Status::kOffline) online.push_back(user.view());
        }
        reply.send({.body = Json{{"users", std::move(all)}, {"online", std::move(online)}}.dump()});
      });
}

void sessions(Call& call) {
  const auto user = call.id(0, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().ask_home(
      call.shard(), *user, [user = *user](HomeShard& home) { return home.sessions_of(user); },
      [reply](const std::vector<hub::SessionInfo>& sessions) {
        Json list = Json::array();
        for (const hub::SessionInfo& session : sessions) {
          list.push_back({{"session_id", base::to_hex(session.id)}, {"status", status_name(session.status)}});
        }
        reply.send({.body = Json{{"sessions", std::move(list)}}.dump()});
      });
}

void disconnect(Call& call) {
  const auto user = call.id(0, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().order_sessions(call.shard(), *user, {hub::SessionOrder::What::kDisconnect},
                                [reply](const base::Result<std::size_t>& count) { send_sessions(reply, count); });
}

}  // namespace

void add_user_routes(ServerApi& api) {
  api.add("GET", "/api/users", list_users);
  api.add("GET", "/api/users/count", count_users);
  api.add("GET", "/api/users/{user_id}/presence", presence);
  api.add("GET", "/api/users/{user_id}/sessions", sessions);
  api.add("POST", "/api/users/{user_id}/disconnect", disconnect);
  api.add("POST", "/api/presence/query", query_presence);
}

}  // namespace hubbub::api
