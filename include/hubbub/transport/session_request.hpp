#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hubbub/hub/session_shard.hpp"
#include "hubbub/transport/http_connection.hpp"

namespace hubbub::transport {

/// What a request for a session says, on all transports alike.
struct SessionRequest {
  base::SharedString user;
  std::unique_ptr<hub::Resume> resume;  ///< null when it brings neither cursor nor rooms
};

/// The user from the path or `?user_id=`, the cursor from `header_cursor` or the first of `cursor_names` in the query,
/// rooms from `?rooms=a,b` and from each `?room=` (for ids with a comma in them). nullopt: it has been answered with
/// what is wrong.
std::optional<SessionRequest> parse_session_request(HttpConnection& connection, const HttpRequest& request,
                                                    std::initializer_list<std::string_view> cursor_names,
                                                    std::string_view header_cursor);

/// True when no more sessions are taken, or none any more; it has been answered then.
bool refuse_new_session(HttpConnection& connection);

/// Nothing unless it names a session of this node.
std::optional<hub::SessionId> parse_session_id(const hub::ConnectionManager& manager, std::string_view text);

/// `X-Session-Key` or `?session_key=`.
std::string presented_session_key(const HttpRequest& request);

/// Whether the request has the session's key.
bool presents_key(const hub::ConnectionManager& manager, hub::SessionId id, const HttpRequest& request);

}  // namespace hubbub::transport
