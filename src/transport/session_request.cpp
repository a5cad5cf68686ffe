#include "hubbub/transport/session_request.hpp"

#include <openssl/crypto.h>

#include <utility>
#include <variant>

#include "hubbub/protocol/cursor.hpp"
#include "hubbub/protocol/identifier.hpp"

namespace hubbub::transport {

using protocol::ErrorCode;

namespace {

// The list is decoded whole and then taken apart, because common encoders write its commas as `%2C`.
bool parse_rooms(std::string_view query, std::vector<std::string>& rooms) {
  bool good = true;
  const auto add = [&](std::string_view room) {
    good = good && protocol::is_valid_identifier(room);
    rooms.emplace_back(room);
  };
  for_each_query_value(query, "rooms", [&](const std::optional<std::string>& value) {
    good = good && value;
    std::string_view list;
    if (value) list = *value;
    while (!list.empty()) {
      const std::size_t end = std::min(list.find(','), list.size());
      add(list.substr(0, end));
      list.remove_prefix(std::min(end + 1, list.size()));
    }
  });
  for_each_query_value(query, "room", [&](const std::optional<std::string>& value) { add(value.value_or("")); });
  return good;
}

}  // namespace

std::optional<SessionRequest> parse_session_request(HttpConnection& connection, const HttpRequest& request,
                                                    std::initializer_list<std::string_view> cursor_names,
                                                    std::string_view header_cursor) {
  const std::string_view query = request.target().query;
  const auto fail = [&](ErrorCode code, std::string_view text) -> std::optional<SessionRequest> {
    connection.respond(error_response(code, text));
    return std::nullopt;
  };
  const std::optional<std::string> user =
      request.segment().empty() ? query_value(query, "user_id") : percent_decode(request.segment());
  if (!user || !protocol::is_valid_identifier(*user)) {
    return fail(ErrorCode::kBadRequest, "The user id must be 1 to 256 bytes of UTF-8 without control characters.");
  }
  SessionRequest wanted{base::SharedString(*user), {}};
  auto resume = std::make_unique<hub::Resume>();
  resume->cursor_text = header_cursor;
  for (const std::string_view name : cursor_names) {
    if (resume->cursor_text.empty()) resume->cursor_text = query_value(query, name).value_or("");
  }
  if (!resume->cursor_text.empty()) {
    auto parsed = protocol::parse_cursor(resume->cursor_text, *user);
    if (!std::holds_alternative<protocol::Cursor>(parsed)) return fail(ErrorCode::kBadCursor, {});
    resume->cursor = std::get<protocol::Cursor>(std::move(parsed));
  }
  if (!parse_rooms(query, resume->rooms)) {
    return fail(ErrorCode::kBadRequest, "rooms is a list of room ids, separated by commas; room is one of them.");
  }
  if (!resume->cursor_text.empty() || !resume->rooms.empty()) wanted.resume = std::move(resume);
  return wanted;
}

bool refuse_new_session(HttpConnection& connection) {
  const TransportContext& context = connection.transport().context();
  if (context.stopping.load()) {
    connection.respond(error_response(ErrorCode::kOverloaded));
    return true;
  }
  if (context.manager.session_count() < context.options.max_sessions) return false;
  HttpResponse response = error_response(ErrorCode::kTooManySessions);
  response.extra_headers = "Retry-After: 5\r\n";
  connection.respond(response);
  return true;
}

std::optional<hub::SessionId> parse_session_id(const hub::ConnectionManager& manager, std::string_view text) {
  const auto name = hub::ConnectionManager::parse_session_text(text);
  if (!name || name->node != manager.node()) return std::nullopt;
  return name->id;
}

std::string presented_session_key(const HttpRequest& request) {
  std::string key = request.header("X-Session-Key");
  return key.empty() ? query_value(request.target().query, "session_key").value_or("") : key;
}

bool presents_key(const hub::ConnectionManager& manager, hub::SessionId id, const HttpRequest& request) {
  const std::string key = presented_session_key(request);
  const std::string right = manager.session_key(id);
  return key.size() == right.size() && CRYPTO_memcmp(key.data(), right.data(), key.size()) == 0;
}

}  // namespace hubbub::transport
