#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hubbub::protocol {

/// What a client or an HTTP caller is told went wrong. The order is that of kErrors.
enum class ErrorCode : uint8_t {
  kBadJson,
  kUnknownType,
  kMissingField,
  kBadField,
  kBadCursor,
  kNotInRoom,
  kForbidden,
  kTooLarge,
  kRateLimited,
  kTooManyRooms,
  kTooManyWatches,
  kUserOffline,
  kOverloaded,
  kBrokerUnavailable,
  kInternal,
  kBadRequest,
  kNotFound,
  kMethodNotAllowed,
  kReplaced,
  kRequestTimeout,
  kPayloadTooLarge,
  kUriTooLong,
  kUpgradeRequired,
  kHeadersTooLarge,
  kTooManySessions,
  kVersionNotSupported,
  kUnsupported,
  kUnauthorized,
};

struct ErrorInfo {
  ErrorCode value;
  std::string_view code;  ///< the stable string on the wire
  std::string_view text;  ///< default `message`; for people, may change
  uint16_t http_status;   ///< when it answers an HTTP request; 0: it only ever answers a command
};

/// The one table of error codes: the server, docs/protocol.md and the clients are made from it.
inline constexpr std::array kErrors = {
    ErrorInfo{ErrorCode::kBadJson, "bad_json", "The message is not a valid JSON object.", 400},
    ErrorInfo{ErrorCode::kUnknownType, "unknown_type", "There is no command of this type.", 400},
    ErrorInfo{ErrorCode::kMissingField, "missing_field", "A required field is missing.", 400},
    ErrorInfo{ErrorCode::kBadField, "bad_field", "A field has a wrong type or value.", 400},
    ErrorInfo{ErrorCode::kBadCursor, "bad_cursor",
              "The cursor is damaged, somebody else's, or ahead of what was ever sent.", 400},
    ErrorInfo{ErrorCode::kNotInRoom, "not_in_room", "This session is not in the room.", 0},
    ErrorInfo{ErrorCode::kForbidden, "forbidden", "This is not allowed.", 403},
    ErrorInfo{ErrorCode::kTooLarge, "too_large", "The message is larger than the server accepts.", 413},
    ErrorInfo{ErrorCode::kRateLimited, "rate_limited", "Too much in too short a time; slow down.", 429},
    ErrorInfo{ErrorCode::kTooManyRooms, "too_many_rooms", "This session is in as many rooms as it may.", 0},
    ErrorInfo{ErrorCode::kTooManyWatches, "too_many_watches", "This session watches as many users as it may.", 0},
    ErrorInfo{ErrorCode::kUserOffline, "user_offline", "The user has no such session.", 0},
    ErrorInfo{ErrorCode::kOverloaded, "overloaded", "The server is too busy; try again later.", 503},
    ErrorInfo{ErrorCode::kBrokerUnavailable, "broker_unavailable", "Messages can't be stored now; try again later.",
              503},
    ErrorInfo{ErrorCode::kInternal, "internal", "The server made a mistake.", 500},
    ErrorInfo{ErrorCode::kBadRequest, "bad_request", "The request can't be understood.", 400},
    ErrorInfo{ErrorCode::kNotFound, "not_found", "There is nothing at this path.", 404},
    ErrorInfo{ErrorCode::kMethodNotAllowed, "method_not_allowed", "This path does not know that method.", 405},
    ErrorInfo{ErrorCode::kReplaced, "replaced", "A newer request of the same session took this one's place.", 409},
    ErrorInfo{ErrorCode::kRequestTimeout, "request_timeout", "The request took too long to arrive.", 408},
    ErrorInfo{ErrorCode::kPayloadTooLarge, "payload_too_large", "The request body is larger than the server accepts.",
              413},
    ErrorInfo{ErrorCode::kUriTooLong, "uri_too_long", "The request target is too long.", 414},
    ErrorInfo{ErrorCode::kUpgradeRequired, "upgrade_required", "This path speaks WebSocket version 13 only.", 426},
    ErrorInfo{ErrorCode::kHeadersTooLarge, "headers_too_large", "The request headers are too large.", 431},
    ErrorInfo{ErrorCode::kTooManySessions, "too_many_sessions",
              "The server has as many sessions as it may; try again later.", 503},
    ErrorInfo{ErrorCode::kVersionNotSupported, "version_not_supported", "This HTTP version is not supported.", 505},
    ErrorInfo{ErrorCode::kUnsupported, "unsupported", "The server does not do this.", 501},
    ErrorInfo{ErrorCode::kUnauthorized, "unauthorized", "A key is needed, and none or a wrong one was given.", 401},
};

/// WebSocket close codes that the server sends; the values are the numbers on the wire.
enum class CloseCode : uint16_t {
  kNormal = 1000,
  kGoingAway = 1001,
  kProtocolError = 1002,
  kUnsupportedData = 1003,
  kInvalidPayload = 1007,
  kMessageTooBig = 1009,
  kInternalError = 1011,
  kHeartbeatTimeout = 4000,
  kSlowConsumer = 4001,
  kRateLimited = 4002,
  kTooManySessions = 4003,
  kReplaced = 4004,
  kDisconnected = 4005,
};

struct CloseInfo {
  CloseCode value;
  std::string_view name;  ///< sent as the close reason
  std::string_view text;  ///< what it means to the client
  bool reconnect;         ///< whether a client should come back by itself (after a back-off)
  std::string_view when;  ///< when the server sends it
};

/// The one table of close codes.
inline constexpr std::array kCloses = {
    CloseInfo{CloseCode::kNormal, "normal", "The session ended as the client wished.", false,
              "answering a client's own close"},
    CloseInfo{CloseCode::kGoingAway, "going_away", "The server stops; another one, or the next, will take over.", true,
              "the server shuts down"},
    CloseInfo{CloseCode::kProtocolError, "protocol_error", "The client broke the WebSocket protocol.", false,
              "a frame that RFC 6455 forbids"},
    CloseInfo{CloseCode::kUnsupportedData, "unsupported_data", "Only text messages are understood.", false,
              "a binary message"},
    CloseInfo{CloseCode::kInvalidPayload, "invalid_payload", "A text message or close reason was not UTF-8.", false,
              "invalid UTF-8, or compressed data that can't be inflated"},
    CloseInfo{CloseCode::kMessageTooBig, "message_too_big", "The message was larger than the server accepts.", false,
              "a message over `message_max_bytes`"},
    CloseInfo{CloseCode::kInternalError, "internal_error", "The server made a mistake.", true,
              "an unexpected failure in the server"},
    CloseInfo{CloseCode::kHeartbeatTimeout, "heartbeat_timeout", "The server heard nothing for two heartbeats.", true,
              "two pings in a row were not answered and nothing else came"},
    CloseInfo{CloseCode::kSlowConsumer, "slow_consumer", "The client read too slowly for too long.", true,
              "the out queue stayed over `out_queue_bytes` for `slow_consumer_grace`"},
    CloseInfo{CloseCode::kRateLimited, "rate_limited", "The client sent too much in too short a time.", true,
              "more than 1 MiB of commands sent before `connected`"},
    CloseInfo{CloseCode::kTooManySessions, "too_many_sessions", "The user has as many sessions as it may.", false,
              "a session over `max_sessions_per_user` was found after the handshake"},
    CloseInfo{CloseCode::kReplaced, "replaced", "Another connection took this session over.", false,
              "a newer connection resumed the same session"},
    CloseInfo{CloseCode::kDisconnected, "disconnected", "The application ended the session.", false,
              "a backend asked for it"},
};

inline constexpr size_t kErrorCount = kErrors.size();
[[nodiscard]] constexpr const ErrorInfo& error_info(ErrorCode code) { return kErrors[static_cast<size_t>(code)]; }

/// `code` must be one of the enumerators.
[[nodiscard]] constexpr const CloseInfo& close_info(CloseCode code) {
  for (const auto& row : kCloses)
    if (row.value == code) return row;
  return kCloses[0];
}

static_assert([] {
  for (size_t i = 0; i < kErrors.size(); ++i)
    if (static_cast<size_t>(kErrors[i].value) != i) return false;
  return kErrors.size() == static_cast<size_t>(ErrorCode::kUnauthorized) + 1;
}());

}  // namespace hubbub::protocol
