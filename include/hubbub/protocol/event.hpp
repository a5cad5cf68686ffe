#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hubbub/protocol/errors.hpp"
#include "hubbub/protocol/schema.hpp"

namespace hubbub::protocol {

/// Encoders of events. Each appends ONE JSON object (bodies: its members without braces) to `out`, `type` first.
/// Text parameters must be valid UTF-8 and are escaped here; parameters called raw (`id` of a command, `content`,
/// `data`) must be valid JSON and are written as they are. An empty `id`, `field` or `message_id` is left out.

/// The public id of a stored event: `<ms>-<seq>`.
struct EventId {
  uint64_t ms = 0;
  uint64_t seq = 0;
};
void append_event_id(std::string& out, EventId id);

// ---------------------------------------------------------------- to one session

struct ConnectedEvent {
  std::string_view session_id;
  std::string_view session_key;
  std::string_view user_id;
  std::string_view server_id;
  uint64_t heartbeat_ms = 0;
  std::string_view cursor = {};
  bool resumed = false;
  std::optional<bool> recovered{};  ///< of the inbox; only when there was a cursor
};
void append_event(std::string& out, const ConnectedEvent& event);

/// The good answer to a command; only sent when the command had an `id`.
struct AckEvent {
  std::string_view id = {};            ///< raw; empty only in an answer by HTTP
  std::string_view room_id = {};       ///< leave_room
  std::optional<EventId> message{};    ///< room_message, direct_message: gives `message` and `seq`
  bool duplicate = false;              ///< written only when true
  std::optional<uint64_t> sessions{};  ///< direct_message, signal: sessions of the recipient reached
  std::optional<uint64_t> count{};     ///< presence_query
};
void append_event(std::string& out, const AckEvent& event);

struct ErrorEvent {
  std::string_view id = {};  ///< raw
  ErrorCode code = ErrorCode::kInternal;
  std::string_view message = {};  ///< empty: the table's text
  std::string_view field = {};
  std::string_view room_id = {};
};
void append_event(std::string& out, const ErrorEvent& event);

/// The answer to `cursor`.
struct CursorEvent {
  std::string_view id = {};  ///< raw
  std::string_view cursor;
};
void append_event(std::string& out, const CursorEvent& event);

/// What a close frame tells a WebSocket.
void append_closed_event(std::string& out, CloseCode code);

struct JoinedEvent {
  std::string_view id = {};  ///< raw
  std::string_view room_id;
  uint64_t seq = 0;
  std::string_view epoch;
  std::span<const std::string_view> members = {};
  uint64_t member_count = 0;
  bool already = false;             ///< written only when true
  std::optional<bool> recovered{};  ///< only when the command had `since`
};
void append_event(std::string& out, const JoinedEvent& event);

struct PongEvent {
  std::string_view id = {};  ///< raw
};
void append_event(std::string& out, const PongEvent& event);

/// Kept events `from_seq` to `to_seq` (inclusive) that this session missed for good.
struct GapEvent {
  std::string_view room_id = {};  ///< empty: the user's own inbox
  uint64_t from_seq = 0;
  uint64_t to_seq = 0;
  std::string_view epoch = {};  ///< the stream has lost its past: from here on `seq` counts anew, in this epoch
};
void append_event(std::string& out, const GapEvent& event);

struct PresenceEvent {
  std::string_view user_id;
  std::string_view status;                ///< online, busy, away or offline
  std::optional<int64_t> last_seen_ms{};  ///< unix time; nullopt is written as null (never seen)
};
void append_event(std::string& out, const PresenceEvent& event);

struct SignalEvent {
  std::string_view from;
  std::string_view from_session;
  std::string_view data;  ///< raw
};
void append_event(std::string& out, const SignalEvent& event);

/// A backend took the session out of the room.
struct RemovedEvent {
  std::string_view room_id;
};
void append_event(std::string& out, const RemovedEvent& event);

/// To every session of the node; not kept.
struct BroadcastEvent {
  std::string_view from;
  std::string_view content;  ///< raw
  int64_t timestamp_ms = 0;
};
void append_event(std::string& out, const BroadcastEvent& event);

// ---------------------------------------------------------------- to a room

/// `type` is one of kUserJoined, kUserLeft, kTypingStart, kTypingStop.
struct RoomUserEvent {
  EventType type;
  std::string_view user_id;
  std::string_view room_id;
};
void append_event(std::string& out, const RoomUserEvent& event);

/// Instead of user_joined and user_left where a room is too large to tell everybody of each.
struct MembersEvent {
  std::string_view room_id;
  uint64_t member_count = 0;
};
void append_event(std::string& out, const MembersEvent& event);

// ---------------------------------------------------------------- stored events
// A stream keeps the body, made before its number is known; the event is number and body put together.

struct MessageBody {
  std::string_view room_id;
  std::string_view from;
  std::string_view content;  ///< raw
  int64_t timestamp_ms = 0;
  std::string_view message_id = {};
  bool ephemeral = false;  ///< written only when true
};
/// `"room_id":..,"from":..,"content":..,"timestamp":".."[,"message_id":..][,"ephemeral":true]`
void append_message_body(std::string& out, const MessageBody& body);

struct DirectMessageBody {
  std::string_view from;
  std::string_view to_user;
  std::string_view content;  ///< raw
  int64_t timestamp_ms = 0;
  std::string_view message_id = {};
  bool ephemeral = false;  ///< written only when true
};
/// `"from":..,"to_user":..,"content":..,"timestamp":".."[,"message_id":..][,"ephemeral":true]`
void append_direct_message_body(std::string& out, const DirectMessageBody& body);

/// The members of `raw_object` but `type`, `id` and `seq`, which are the server's to give, and those of `without`.
/// False (and nothing appended) when it is not one valid JSON object.
[[nodiscard]] bool append_notification_body(std::string& out, std::string_view raw_object,
                                            std::span<const std::string_view> without = {});

/// `{"type":"<type>","id":"<id_ms>-<seq>","seq":<seq>,<body>}`. `type` is written without escaping.
void append_stored_event(std::string& out, std::string_view type, uint64_t id_ms, uint64_t seq, std::string_view body);

/// `{"type":"<type>",<body>}`: an event that no stream keeps. `type` is written without escaping.
void append_ephemeral_event(std::string& out, std::string_view type, std::string_view body);

/// The answer to `history`, written piece by piece so that stored events need no copy of their own:
/// construct, `add` each in seq order, `finish`.
struct HistoryHeader {
  std::string_view id = {};       ///< raw
  std::string_view room_id = {};  ///< empty: the user's own inbox
  std::string_view epoch;
  bool bare = false;  ///< without `type`, as an HTTP answer
};
class HistoryWriter {
 public:
  HistoryWriter(std::string& out, const HistoryHeader& header);
  void add(std::string_view type, uint64_t id_ms, uint64_t seq, std::string_view body);
  void finish(bool more);

 private:
  std::string& out_;
  bool first_ = true;
};

// ---------------------------------------------------------------- HTTP

/// `{"error":{"code":"..","message":".."}}`; an empty message means the table's text.
void append_http_error(std::string& out, ErrorCode code, std::string_view message = {});

}  // namespace hubbub::protocol
