#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/json.hpp"
#include "hubbub/protocol/sse.hpp"
#include "hubbub/transport/http_session.hpp"
#include "hubbub/transport/session_request.hpp"
#include "hubbub/transport/sse_connection.hpp"

// `/events`, `/poll` and `/sessions/{id}/commands`: which session a request is about, and on which shard it lives.
namespace hubbub::transport {

using hub::Framing;
using hub::SessionId;
using protocol::ErrorCode;

namespace {

constexpr std::int64_t kDefaultPollMs = 30'000;

/// The session that a request names and may take over, by its cursor or by its key; 0: none.
SessionId named_session(ShardTransport& transport, const SessionRequest& wanted, const HttpRequest& request) {
  const hub::ConnectionManager& manager = transport.context().manager;
  if (wanted.resume && wanted.resume->cursor.session != 0) {
    const SessionId id = wanted.resume->cursor.session;
    return manager.session_key_tag(id) == wanted.resume->cursor.key_tag ? id : 0;
  }
  const std::optional<SessionId> id =
      parse_session_id(manager, query_value(request.target().query, "session_id").value_or(""));
  return id && presents_key(manager, *id, request) ? *id : 0;
}

/// True when the connection has been sent to the shard that the session lives on.
bool moved(HttpConnection& connection, unsigned shard) {
  if (shard == connection.shard().index() || shard >= connection.transport().context().manager.shards().size()) {
    return false;
  }
  connection.move_to(shard);
  return true;
}

/// The named session, if it goes on over this transport. If it does not, it makes way for the one that will be opened.
HttpSession* session_to_resume(ShardTransport& transport, SessionId id, const SessionRequest& wanted, Framing framing) {
  HttpSession* known = id == 0 ? nullptr : transport.find_http_session(id);
  if (known == nullptr || known->is_ending() || !(known->session().user() == wanted.user)) return nullptr;
  if (known->framing() == framing && known->session().is_attached()) return known;
  known->retire();
  return nullptr;
}

/// A session of another node whose client goes on with a new one here: its rooms are joined here before they are left
/// there.
void retire_elsewhere(ShardTransport& transport, SessionId id, const SessionRequest& wanted) {
  if (id != 0 || !wanted.resume || wanted.resume->cursor.session == 0) return;
  const protocol::Cursor& cursor = wanted.resume->cursor;
  transport.context().manager.retire_elsewhere(transport.shard().index(), wanted.user, cursor.session, cursor.key_tag);
}

void handle_events(HttpConnection& connection, const HttpRequest& request) {
  ShardTransport& transport = connection.transport();
  auto wanted =
      parse_session_request(connection, request, {"last_event_id", "cursor", "since"}, request.header("Last-Event-ID"));
  if (!wanted) return;
  if (request.method() == "HEAD") {
    return connection.respond({.content_type = "text/event-stream", .extra_headers = "Cache-Control: no-cache\r\n"});
  }
  const SessionId id = named_session(transport, *wanted, request);
  if (id != 0 && moved(connection, hub::shard_of(id))) return;
  HttpSession* session = session_to_resume(transport, id, *wanted, Framing::kSse);
  if (session == nullptr && refuse_new_session(connection)) return;

  std::string head =
      "HTTP/1.1 200 OK\r\nServer: hubbub\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
      "X-Accel-Buffering: no\r\nConnection: close\r\n\r\n";
  protocol::append_sse_retry(head, transport.options().sse_retry_ms);
  if (session != nullptr) {
    const protocol::Cursor* cursor = wanted->resume ? &wanted->resume->cursor : nullptr;
    session->stream_to(connection.upgrade_to_sse(head), cursor, true);
    return;
  }
  retire_elsewhere(transport, id, *wanted);
  session = new HttpSession(transport, wanted->user, Framing::kSse, std::move(wanted->resume), false);
  session->stream_to(connection.upgrade_to_sse(head), nullptr, false);
}

std::optional<std::int64_t> poll_timeout_ms(const HttpRequest& request, std::int64_t max_ms) {
  const auto text = query_value(request.target().query, "timeout");
  if (!text) return std::min(kDefaultPollMs, max_ms);
  double seconds = 0;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  if (failed != std::errc{} || end != text->data() + text->size() || !(seconds >= 0)) return std::nullopt;
  return static_cast<std::int64_t>(std::min(seconds * 1000, static_cast<double>(max_ms)));
}

void handle_poll(HttpConnection& connection, const HttpRequest& request) {
  ShardTransport& transport = connection.transport();
  auto wanted = parse_session_request(connection, request, {"cursor", "since"}, {});
  if (!wanted) return;
  const auto timeout_ms = poll_timeout_ms(request, transport.options().poll_timeout_max_ms);
  if (!timeout_ms) return connection.respond(error_response(ErrorCode::kBadRequest, "timeout is a number of seconds."));
  if (request.method() == "HEAD") return connection.respond({.extra_headers = "Cache-Control: no-store\r\n"});

  const SessionId id = named_session(transport, *wanted, request);
  const bool plain = !wanted->resume || wanted->resume->cursor_text.empty();
  const unsigned shard = id != 0 ? hub::shard_of(id) : transport.context().manager.home_index(wanted->user);
  if (moved(connection, shard)) return;
  const protocol::Cursor* cursor = plain ? nullptr : &wanted->resume->cursor;
  HttpSession* session = id == 0 && plain ? transport.find_plain_poll(wanted->user) : nullptr;
  if (session != nullptr && session->is_ending()) session = nullptr;
  if (session == nullptr) session = session_to_resume(transport, id, *wanted, Framing::kPoll);
  if (session != nullptr) {
    if (!plain) session->forget_plain();
    return session->poll(connection, *timeout_ms, cursor, session->session().is_attached());
  }
  if (refuse_new_session(connection)) return;
  retire_elsewhere(transport, id, *wanted);
  session = new HttpSession(transport, wanted->user, Framing::kPoll, std::move(wanted->resume), id == 0 && plain);
  session->poll(connection, *timeout_ms, nullptr, false);
}

std::string answers_json(const std::vector<std::string>& answers) {
  std::string json = R"({"answers":[)";
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (i != 0) json += ',';
    json += answers[i];
  }
  return json += "]}";
}

/// The commands in the body; nothing when the request has been refused.
std::optional<std::vector<std::string_view>> parse_commands(HttpConnection& connection, const HttpRequest& request) {
  std::vector<std::string_view> commands;
  protocol::JsonValue body;
  if (!protocol::JsonScanner(request.body()).whole_value(body) ||
      (body.kind != protocol::JsonKind::kObject && body.kind != protocol::JsonKind::kArray)) {
    connection.respond(error_response(ErrorCode::kBadJson, "The body is one command or an array of commands."));
    return std::nullopt;
  }
  if (body.kind == protocol::JsonKind::kObject) {
    commands.push_back(body.raw);
  } else {
    protocol::scan_array(body.raw, [&](const protocol::JsonValue& element) {
      commands.push_back(element.raw);
      return commands.size() <= hub::SessionShard::kCallMax;
    });
  }
  const bool too_many = commands.size() > hub::SessionShard::kCallMax;
  const bool too_large = std::any_of(commands.begin(), commands.end(), [&](std::string_view command) {
    return command.size() > connection.transport().options().message_max_bytes;
  });
  if (!too_many && !too_large) return commands;
  connection.respond(error_response(ErrorCode::kPayloadTooLarge,
                                    too_many ? "There are too many commands." : "A command is too large."));
  return std::nullopt;
}

HttpResponse refused_commands(ErrorCode code) {
  if (code == ErrorCode::kNotFound) return error_response(code, "There is no such session.");
  if (code == ErrorCode::kForbidden) return error_response(code, "The session's key is missing or wrong.");
  return error_response(code);
}

void handle_commands(HttpConnection& connection, const HttpRequest& request) {
  ShardTransport& transport = connection.transport();
  hub::ConnectionManager& manager = transport.context().manager;
  const auto name = hub::ConnectionManager::parse_session_text(percent_decode(request.segment()).value_or(""));
  if (name && name->node != manager.node() && name->node != 0 && manager.node() != 0) {
    // Another node's: any node takes them and passes them on.
    const auto commands = parse_commands(connection, request);
    if (!commands) return;
    const DeferredAnswer deferred = connection.defer();
    return manager.call_elsewhere(transport.shard().index(), *name, presented_session_key(request), *commands,
                                  [&transport, deferred](const hub::CallAnswer& call) {
                                    transport.answer(deferred.id,
                                                     call.error ? refused_commands(*call.error)
                                                                : HttpResponse{.body = answers_json(call.answers)});
                                  });
  }
  if (!name || name->node != manager.node() || hub::shard_of(name->id) >= manager.shards().size()) {
    return connection.respond(refused_commands(ErrorCode::kNotFound));
  }
  if (!presents_key(manager, name->id, request)) return connection.respond(refused_commands(ErrorCode::kForbidden));
  if (moved(connection, hub::shard_of(name->id))) return;
  hub::SessionShard& sessions = manager.sessions(transport.shard());
  hub::Session* session = sessions.find_session(name->id);
  if (session == nullptr || !session->is_attached()) {
    return connection.respond(refused_commands(ErrorCode::kNotFound));
  }
  const auto commands = parse_commands(connection, request);
  if (!commands) return;
  const DeferredAnswer deferred = connection.defer();
  sessions.call(*session, *commands, [&transport, deferred](const std::vector<std::string>& answers) {
    transport.answer(deferred.id, {.body = answers_json(answers)});
  });
}

}  // namespace

void add_http_session_routes(Router& router) {
  router.add({"GET", "/events/{user_id}", handle_events});
  router.add({"GET", "/events", handle_events});
  router.add({"GET", "/poll/{user_id}", handle_poll});
  router.add({"GET", "/poll", handle_poll});
  router.add({"POST", "/sessions/{session_id}/commands", handle_commands});
}

}  // namespace hubbub::transport
