#include "hubbub/api/publish_routes.hpp"

#include <array>
#include <string>
#include <utility>

#include "hubbub/api/request_body.hpp"
#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/json.hpp"

namespace hubbub::api {

using broker::StreamKind;
using hub::BackendPublish;
using hub::BackendPublished;
using protocol::ErrorCode;
using transport::HttpResponse;

namespace {

constexpr std::size_t kBatchMax = 1000;
constexpr std::size_t kUsersMax = 1000;

std::string_view delivery_name(hub::Delivery delivery) {
  switch (delivery) {
    case hub::Delivery::kAcked:
      return "acked";
    case hub::Delivery::kReached:
      return "reached";
    case hub::Delivery::kOffline:
      break;
  }
  return "offline";
}

/// How the answer tells of one publish.
struct Telling {
  base::SharedString id{};  ///< of the room or user; empty: the answer does not say
  StreamKind kind = StreamKind::kRoom;
  bool ephemeral = false;
  bool report = false;
  bool notified = false;  ///< `"status":"sent"` where there is no report
};

/// `"id":..,"seq":..,...`, or `"error":{..}`.
void append_result(std::string& out, const Telling& telling, const BackendPublished& result) {
  const char* comma = "";
  if (!telling.id.empty()) {
    out += telling.kind == StreamKind::kRoom ? R"("room_id":)" : R"("user_id":)";
    protocol::append_json_string(out, telling.id.view());
    comma = ",";
  }
  if (result.error) {
    out += comma;
    return append_error(out, *result.error);
  }
  if (telling.notified && !telling.report) {
    out.append(comma).append(R"("status":"sent")");
    comma = ",";
  }
  if (telling.ephemeral) {
    out.append(comma).append(R"("ephemeral":true)");
  } else {
    out.append(comma).append(R"("id":")");
    protocol::append_event_id(out, {result.published.id_ms, result.published.position.seq});
    out += R"(","seq":)";
    protocol::append_uint(out, result.published.position.seq);
  }
  out += R"(,"sessions":)";
  protocol::append_uint(out, result.sessions);
  if (result.published.duplicate) out += R"(,"duplicate":true)";
  if (telling.report) out.append(R"(,"status":")").append(delivery_name(result.delivery)).append("\"");
}

/// Publishes one event, and answers with what became of it.
void publish_one(Call& call, BackendPublish&& item, Telling&& telling) {
  telling.report = item.ack_within_ms.has_value();
  std::vector<BackendPublish> items;
  items.push_back(std::move(item));
  const Reply reply = call.defer();
  call.manager().publish(call.shard(), std::move(items),
                         [reply, telling = std::move(telling)](const std::vector<BackendPublished>& results) {
                           const BackendPublished& result = results.front();
                           if (result.error) return reply.send(transport::error_response(*result.error));
                           HttpResponse response{.body = "{"};
                           append_result(response.body, telling, result);
                           response.body += '}';
                           reply.send(response);
                         });
}

std::optional<BodyFault> check_message(const RequestBody& body) {
  if (body.content.empty()) return BodyFault{ErrorCode::kMissingField, "content is missing."};
  return std::nullopt;
}

/// `body` for a room or a user, as an event.
BackendPublish message_for(StreamKind kind, const base::SharedString& id, const RequestBody& body,
                           std::int64_t unix_ms) {
  BackendPublish item;
  item.stream = {kind, id};
  broker::Publication& publication = item.publication;
  publication.unix_ms = unix_ms;
  publication.keep = !body.ephemeral;
  if (!body.message_id.empty()) {
    publication.dedupe_key.append(body.from).append(1, '\0').append(body.message_id);
  }
  if (kind == StreamKind::kRoom) {
    publication.type = "message";
    protocol::append_message_body(publication.body, {.room_id = id.view(),
                                                     .from = body.from,
                                                     .content = body.content,
                                                     .timestamp_ms = unix_ms,
                                                     .message_id = body.message_id,
                                                     .ephemeral = body.ephemeral});
    if (!body.exclude_user.empty()) publication.exclude_user = base::SharedString(body.exclude_user);
  } else {
    publication.type = "direct_message";
    protocol::append_direct_message_body(publication.body, {.from = body.from,
                                                            .to_user = id.view(),
                                                            .content = body.content,
                                                            .timestamp_ms = unix_ms,
                                                            .message_id = body.message_id,
                                                            .ephemeral = body.ephemeral});
    item.ack_within_ms = body.ack_within_ms;
  }
  return item;
}

// HOT PATH
void notify(Call& call, bool own_type) {
  const auto user = call.id(0, "user");
  if (!user) return;
  NotificationBody notification;
  if (const auto fault = read_notification(call.request().body(), notification)) {
    return call.refuse(fault->code, fault->text);
  }
  BackendPublish item;
  item.stream = {StreamKind::kInbox, *user};
  item.ack_within_ms = notification.ack_within_ms;
  item.publication.type = "notification";
  if (own_type) item.publication.type = notification.type.empty() ? "message" : std::move(notification.type);
  item.publication.body = std::move(notification.body);
  item.publication.unix_ms = call.unix_ms();
  Telling telling{.kind = StreamKind::kInbox, .notified = true};
  if (item.ack_within_ms) telling.id = *user;
  publish_one(call, std::move(item), std::move(telling));
}

// HOT PATH
void message_to(Call& call, StreamKind kind) {
  const auto id = call.id(0, kind == StreamKind::kRoom ? "room" : "user");
  if (!id) return;
  RequestBody body;
  auto fault = body.read(call.request().body());
  if (!fault) fault = check_message(body);
  if (fault) return call.refuse(fault->code, fault->text);
  publish_one(call, message_for(kind, *id, body, call.unix_ms()),
              {.id = *id, .kind = kind, .ephemeral = body.ephemeral});
}

/// Publishes many events, and answers with what became of each, in their order. `faults` are of those that are not to
/// be published; their place among `items` is left out.
struct Listed {
  Telling telling;
  std::optional<BodyFault> fault{};
};

void publish_many(Call& call, std::vector<BackendPublish> items, std::vector<Listed> listed) {
  const Reply reply = call.defer();
  auto all = std::make_unique<std::vector<Listed>>(std::move(listed));
  call.manager().publish(call.shard(), std::move(items),
                         [reply, all = std::move(all)](const std::vector<BackendPublished>& results) {
                           HttpResponse response{.body = R"({"results":[)"};
                           auto result = results.begin();
                           for (const Listed& each : *all) {
                             if (&each != all->data()) response.body += ',';
                             response.body += '{';
                             if (each.fault) {
                               append_error(response.body, each.fault->code, each.fault->text);
                             } else {
                               append_result(response.body, each.telling, *result++);
                             }
                             response.body += '}';
                           }
                           response.body += "]}";
                           reply.send(response);
                         });
}

void message_to_users(Call& call) {
  RequestBody body;
  std::vector<base::SharedString> users;
  auto fault = body.read(call.request().body());
  if (!fault) fault = check_message(body);
  if (!fault) fault = read_users(body.user_ids, kUsersMax, users);
  if (fault) return call.refuse(fault->code, fault->text);
  std::vector<BackendPublish> items;
  std::vector<Listed> listed;
  for (const base::SharedString& user : users) {
    items.push_back(message_for(StreamKind::kInbox, user, body, call.unix_ms()));
    listed.push_back({Telling{.id = user,
                              .kind = StreamKind::kInbox,
                              .ephemeral = body.ephemeral,
                              .report = body.ack_within_ms.has_value()}});
  }
  publish_many(call, std::move(items), std::move(listed));
}

void batch(Call& call) {
  RequestBody body;
  auto fault = body.read(call.request().body());
  if (!fault && body.publishes.empty()) fault = BodyFault{ErrorCode::kMissingField, "publishes is missing."};
  if (fault) return call.refuse(fault->code, fault->text);
  std::vector<BackendPublish> items;
  std::vector<Listed> listed;
  RequestBody each;
  const bool few = protocol::scan_array(body.publishes, [&](const protocol::JsonValue& value) {
    if (listed.size() == kBatchMax) return false;
    auto wrong = each.read(value.raw);
    if (!wrong) wrong = check_message(each);
    if (!wrong && each.room_id.empty() == each.to_user.empty()) {
      wrong = BodyFault{ErrorCode::kBadField, "Exactly one of room_id and to_user must be given."};
    }
    if (wrong) {
      listed.push_back({Telling{}, std::move(wrong)});
      return true;
    }
    const StreamKind kind = each.room_id.empty() ? StreamKind::kInbox : StreamKind::kRoom;
    const base::SharedString id(each.room_id.empty() ? each.to_user : each.room_id);
    items.push_back(message_for(kind, id, each, call.unix_ms()));
    listed.push_back({Telling{
        .id = id, .kind = kind, .ephemeral = each.ephemeral, .report = items.back().ack_within_ms.has_value()}});
    return true;
  });
  if (!few) {
    return call.refuse(ErrorCode::kPayloadTooLarge, "publishes holds more than " + std::to_string(kBatchMax) + ".");
  }
  publish_many(call, std::move(items), std::move(listed));
}

void broadcast(Call& call) {
  RequestBody body;
  auto fault = body.read(call.request().body());
  if (!fault) fault = check_message(body);
  if (fault) return call.refuse(fault->code, fault->text);
  std::string json;
  protocol::append_event(
      json, protocol::BroadcastEvent{.from = body.from, .content = body.content, .timestamp_ms = call.unix_ms()});
  const Reply reply = call.defer();
  call.manager().broadcast(call.shard(), std::move(json), [reply](const base::Result<std::size_t>& sessions) {
    HttpResponse response{.body = R"({"sessions":)"};
    protocol::append_uint(response.body, *sessions);
    response.body += '}';
    reply.send(response);
  });
}

}  // namespace

void add_publish_routes(ServerApi& api) {
  constexpr auto kOnce = ServerApi::Repeat::kOnce;
  api.add(
      "POST", "/notify/{user_id}", [](Call& call) { notify(call, false); }, kOnce);
  api.add(
      "POST", "/send/{user_id}", [](Call& call) { notify(call, true); }, kOnce);
  api.add(
      "POST", "/api/rooms/{room_id}/messages", [](Call& call) { message_to(call, StreamKind::kRoom); }, kOnce);
  api.add(
      "POST", "/api/users/{user_id}/messages", [](Call& call) { message_to(call, StreamKind::kInbox); }, kOnce);
  api.add("POST", "/api/users/messages", message_to_users, kOnce);
  api.add("POST", "/api/batch", batch, kOnce);
  api.add("POST", "/api/broadcast", broadcast, kOnce);
}

}  // namespace hubbub::api
