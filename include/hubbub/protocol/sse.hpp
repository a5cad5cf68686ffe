#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hubbub::protocol {

/// Server-Sent Events (WHATWG HTML 9.2), the server's side.

/// Appends one block: `event: <type>`, then the JSON as `data`. JSON may be laid out over several lines (a client's
/// `content` is passed on as it came), and each line end would end the field: so each line is a `data` field of its
/// own, and the reader, who joins them by line feeds, gets the same JSON.
void append_sse_event(std::string& out, std::string_view json);

/// Appends the block that carries the cursor: an id of its own, because blocks of events are shared by all who get
/// them. It has a type and data because some clients forget the id of a block that they don't dispatch.
void append_sse_cursor(std::string& out, std::string_view cursor);

/// What the stream starts with.
void append_sse_retry(std::string& out, int64_t retry_ms);

/// A comment, so that proxies and clients see a sign of life.
inline constexpr std::string_view kSseKeepalive = ": keepalive\n\n";

}  // namespace hubbub::protocol
