#include "hubbub/api/room_routes.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hubbub/base/random.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/protocol/event.hpp"

namespace hubbub::api {

using base::SharedString;
using hub::HomeShard;
using protocol::ErrorCode;
using transport::HttpResponse;
using Json = nlohmann::ordered_json;

namespace {

void list_rooms(Call& call) {
  const auto page = call.page();
  if (!page) return;
  const std::string prefix = transport::query_value(call.request().target().query, "prefix").value_or("");
  const Reply reply = call.defer();
  call.manager().rooms(call.shard(), prefix, *page, [reply](const base::Result<hub::IdPage<hub::RoomInfo>>& found) {
    if (!found) return send_unavailable(reply);
    Json rooms = Json::array();
    for (const hub::RoomInfo& room : found->items) {
      rooms.push_back({{"room_id", room.id.view()},
                       {"members", room.members},
                       {"sessions", room.sessions},
                       {"seq", room.position.seq}});
    }
    reply.send({.body = Json{{"rooms", std::move(rooms)}, {"next", next_of(*found)}}.dump()});
  });
}

void room(Call& call) {
  const auto id = call.id(0, "room");
  if (!id) return;
  const Reply reply = call.defer();
  call.manager().room(call.shard(), *id, [reply](const base::Result<std::optional<hub::RoomInfo>>& found) {
    if (!found) return send_unavailable(reply);
    if (!*found) return reply.send(transport::error_response(ErrorCode::kNotFound, "There is no such room."));
    const hub::RoomInfo& info = **found;
    reply.send({.body = Json{{"room_id", info.id.view()},
                             {"members", info.members},
                             {"sessions", info.sessions},
                             {"seq", info.position.seq},
                             {"epoch", base::to_hex(info.position.epoch)}}
                            .dump()});
  });
}

void members(Call& call) {
  const auto id = call.id(0, "room");
  if (!id) return;
  const auto page = call.page();
  if (!page) return;
  const Reply reply = call.defer();
  call.manager().members(call.shard(), *id, *page, [reply, id = *id](const base::Result<hub::RoomMembers>& found) {
    if (!found) return send_unavailable(reply);
    const hub::RoomMembers& members = *found;
    Json users = Json::array();
    for (const SharedString& user : members.users) users.push_back(user.view());
    const Json next = members.more ? Json(members.users.back().view()) : Json(nullptr);
    reply.send({.body = Json{
                    {"room_id", id.view()},
                    {"members", std::move(users)},
                    {"member_count", members.count},
                    {"next",
                     next}}.dump()});
  });
}

void typing(Call& call) {
  const auto id = call.id(0, "room");
  if (!id) return;
  const Reply reply = call.defer();
  call.manager().typing_users(call.shard(), *id,
                              [reply, id = *id](const base::Result<std::vector<SharedString>>& typing) {
                                if (!typing) return send_unavailable(reply);
                                Json users = Json::array();
                                for (const SharedString& user : *typing) users.push_back(user.view());
                                reply.send({.body = Json{{"room_id", id.view()}, {"users", std::move(users)}}.dump()});
                              });
}

void messages(Call& call) {
  using broker::ReadRange;
  const auto id = call.id(0, "room");
  if (!id) return;
  const auto since = call.number("since_seq", UINT64_MAX, 0, UINT64_MAX - 1);
  if (!since) return;
  const auto before = call.number("before_seq", UINT64_MAX, 0, UINT64_MAX - 1);
  if (!before) return;
  const auto limit = call.number("limit", kPageLimitDefault, 1, kPageLimitMax);
  if (!limit) return;
  if (*since != UINT64_MAX && *before != UINT64_MAX) {
    return call.refuse(ErrorCode::kBadRequest, "since_seq and before_seq exclude each other.");
  }
  ReadRange range{.limit = static_cast<std::size_t>(*limit), .max_bytes = call.options().page_max_bytes};
  if (*since != UINT64_MAX) {
    range.from = ReadRange::From::kSince;
    range.seq = *since;
  } else if (*before != UINT64_MAX) {
    range.from = ReadRange::From::kBefore;
    range.seq = *before;
  }
  const Reply reply = call.defer();
  call.manager().ask_home_later<base::Result<broker::Page>>(
      call.shard(), *id,
      [key = broker::StreamKey{broker::StreamKind::kRoom, *id}, range](HomeShard& home, auto done) {
        home.read(key, range, std::move(done));
      },
      [reply, id = *id](const base::Result<broker::Page>& page) {
        if (!page) return send_unavailable(reply);
        const std::string epoch = base::to_hex(page->epoch);
        HttpResponse response;
        protocol::HistoryWriter writer(response.body, {.room_id = id.view(), .epoch = epoch, .bare = true});
        for (const broker::StoredEvent& event : page->events) {
          writer.add(event.publication->type, event.id_ms, event.seq, event.publication->body);
        }
        writer.finish(page->more);
        reply.send(response);
      });
}

void order_member(Call& call, hub::SessionOrder::What what) {
  const auto room = call.id(0, "room");
  if (!room) return;
  const auto user = call.id(1, "user");
  if (!user) return;
  const Reply reply = call.defer();
  call.manager().order_sessions(call.shard(), *user, {what, *room},
                                [reply](const base::Result<std::size_t>& count) { send_sessions(reply, count); });
}

void erase(Call& call) {
  const auto room = call.id(0, "room");
  if (!room) return;
  const Reply reply = call.defer();
  call.manager().erase_room(call.shard(), *room,
                            [reply](const base::Result<std::size_t>& count) { send_sessions(reply, count); });
}

}  // namespace

void add_room_routes(ServerApi& api) {
  using What = hub::SessionOrder::What;
  api.add("GET", "/api/rooms", list_rooms);
  api.add("GET", "/api/rooms/{room_id}", room);
  api.add("DELETE", "/api/rooms/{room_id}", erase);
  api.add("GET", "/api/rooms/{room_id}/messages", messages);
  api.add("GET", "/api/rooms/{room_id}/members", members);
  api.add("GET", "/api/rooms/{room_id}/typing", typing);
  api.add("PUT", "/api/rooms/{room_id}/members/{user_id}", [](Call& call) { order_member(call, What::kJoin); });
  api.add("DELETE", "/api/rooms/{room_id}/members/{user_id}", [](Call& call) { order_member(call, What::kLeave); });
}

}  // namespace hubbub::api
