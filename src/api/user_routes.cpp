#include "hubbub/api/user_routes.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hubbub/api/request_body.hpp"
#include "hubbub/protocol/schema.hpp"
#include "hubbub/protocol/timestamp.hpp"

namespace hubbub::api {

using base::SharedString;
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
  call.manager().users(call.shard(), *page, [reply](const base::Result<hub::IdPage<hub::UserInfo>>& found) {
    if (!found) return send_unavailable(reply);
    Json users = Json::array();
    for (const hub::UserInfo& user : found->items) {
      users.push_back({{"user_id", user.id.view()}, {"status", status_name(user.status)}, {"sessions", user.sessions}});
    }
    reply.send({.body = Json{{"users", std::move(users)}, {"next", next_of(*found)}}.dump()});
  });
}

void count_users(Call& call) {
  const Reply reply = call.defer();
  call.manager().user_totals(call.shard(), [reply](const base::Result<hub::UserTotals>& totals) {
    if (!totals) return send_unavailable(reply);
    reply.send({.body = Json{{"count", totals->users}, {"sessions", totals->sessions}}.dump()});
  });
}

void presence(Call& call) {
  const auto user = call.id(0, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().presence(call.shard(), {*user}, [reply](const base::Result<std::vector<hub::PresenceInfo>>& found) {
    if (!found) return send_unavailable(reply);
    reply.send({.body = presence_json(found->front()).dump()});
  });
}

void query_presence(Call& call) {
  RequestBody body;
  std::vector<SharedString> users;
  auto fault = body.read(call.request().body());
  if (!fault) fault = read_users(body.user_ids, protocol::kUserIdsMax, users);
  if (fault) return call.refuse(fault->code, fault->text);
  const Reply reply = call.defer();
  call.manager().presence(call.shard(), std::move(users),
                          [reply](const base::Result<std::vector<hub::PresenceInfo>>& found) {
                            if (!found) return send_unavailable(reply);
                            Json all = Json::array();
                            Json online = Json::array();
                            for (const hub::PresenceInfo& info : *found) {
                              all.push_back(presence_json(info));
                              if (info.status != hub::Status::kOffline) online.push_back(info.user.view());
                            }
                            reply.send({.body = Json{{"users", std::move(all)}, {"online", std::move(online)}}.dump()});
                          });
}

void sessions(Call& call) {
  const auto user = call.id(0, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().sessions_of(call.shard(), *user, [reply](const base::Result<std::vector<hub::NamedSession>>& found) {
    if (!found) return send_unavailable(reply);
    Json list = Json::array();
    for (const hub::NamedSession& session : *found) {
      list.push_back({{"session_id", session.id}, {"status", status_name(session.status)}});
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
