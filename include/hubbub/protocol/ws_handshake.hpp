#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hubbub::protocol {

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2).
[[nodiscard]] std::string accept_key(std::string_view client_key);

/// True for the base64 of exactly 16 bytes (RFC 6455 4.1), without white space around it.
[[nodiscard]] bool is_valid_client_key(std::string_view client_key);

/// The Sec-WebSocket-Extensions answer to the first permessage-deflate offer that we can take, or nothing: then the
/// connection goes on uncompressed. Several header lines are passed joined by commas. An offer is passed over if a
/// parameter is unknown, repeated or ill-formed, or if it wants a server window below 15 bits: one compressed frame
/// is shared by all receivers.
[[nodiscard]] std::optional<std::string> negotiate_deflate(std::string_view sec_websocket_extensions);

}  // namespace hubbub::protocol
