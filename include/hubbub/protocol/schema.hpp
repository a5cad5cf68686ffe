#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hubbub::protocol {

/// The vocabulary as data: the command parser checks by these tables, and docs/protocol.md and the clients are made
/// from them. Add a command, an event or a field here first.

inline constexpr size_t kUserIdsMax = 1000;
inline constexpr uint32_t kHistoryLimitDefault = 50;
inline constexpr uint32_t kHistoryLimitMax = 500;
inline constexpr size_t kMessageIdMaxBytes = 128;
inline constexpr size_t kCommandIdMaxBytes = 256;

/// Members of commands that the server knows. The order is that of kFieldNames.
enum class Field : uint8_t {
  kType,
  kId,
  kRoomId,
  kToUser,
  kToSession,
  kMessageId,
  kStatus,
  kEpoch,
  kContent,
  kData,
  kSince,
  kSinceSeq,
  kBeforeSeq,
  kSeq,
  kLimit,
  kUserIds,
  kNone,  ///< an event's field
};
inline constexpr std::array<std::string_view, 16> kFieldNames = {
    "type",    "id",   "room_id", "to_user",   "to_session", "message_id", "status", "epoch",
    "content", "data", "since",   "since_seq", "before_seq", "seq",        "limit",  "user_ids",
};
inline constexpr size_t kFieldCount = kFieldNames.size();

enum class FieldType : uint8_t {
  kCommandId,
  kUserId,
  kRoomId,
  kSessionId,
  kMessageId,
  kText,
  kUint,
  kLimit,
  kStatusToSet,
  kUserIds,
  kAnyJson,
  kStatus,
  kBool,
  kTime,
  kTimeOrNull,
  kEventId,
  kErrorCode,
  kEvents,
  kMembers,
};

[[nodiscard]] constexpr std::string_view type_text(FieldType type) {
  switch (type) {
    case FieldType::kCommandId:
      return "string (at most 256 bytes as written) or number";
    case FieldType::kUserId:
      return "user id";
    case FieldType::kRoomId:
      return "room id";
    case FieldType::kSessionId:
      return "session id";
    case FieldType::kMessageId:
      return "string, 1 to 128 bytes";
    case FieldType::kText:
      return "string";
    case FieldType::kUint:
      return "integer, 0 or more";
    case FieldType::kLimit:
      return "integer, 1 to 500";
    case FieldType::kStatusToSet:
      return "`online`, `busy` or `away`";
    case FieldType::kUserIds:
      return "array of at most 1000 user ids";
    case FieldType::kAnyJson:
      return "any JSON";
    case FieldType::kStatus:
      return "`online`, `busy`, `away` or `offline`";
    case FieldType::kBool:
      return "boolean";
    case FieldType::kTime:
      return "ISO 8601 time, UTC, milliseconds";
    case FieldType::kTimeOrNull:
      return "ISO 8601 time or null";
    case FieldType::kEventId:
      return "string `<unix ms>-<seq>`";
    case FieldType::kErrorCode:
      return "error code";
    case FieldType::kEvents:
      return "array of events";
    case FieldType::kMembers:
      return "array of user ids";
  }
  return {};
}

struct FieldSpec {
  std::string_view name;
  FieldType type;
  bool required;
  std::string_view text;
  Field field = Field::kNone;

  constexpr FieldSpec(std::string_view n, FieldType t, bool r, std::string_view doc)
      : name(n), type(t), required(r), text(doc) {
    for (size_t i = 0; i < kFieldCount; ++i)
      if (kFieldNames[i] == n) field = static_cast<Field>(i);
  }
};

inline constexpr bool kRequired = true;
inline constexpr bool kOptional = false;

// ---------------------------------------------------------------- commands

enum class CommandType : uint8_t {
  kJoinRoom,
  kLeaveRoom,
  kRoomMessage,
  kDirectMessage,
  kTypingStart,
  kTypingStop,
  kPresenceQuery,
  kPresenceWatch,
  kPresenceUnwatch,
  kSetStatus,
  kHistory,
  kCursor,
  kReceived,
  kSignal,
  kPing,
};

struct CommandSpec {
  CommandType type;
  std::string_view name;
  std::span<const FieldSpec> fields;  ///< besides `type` and `id`, which every command has
  std::string_view answer;
  std::string_view text;
};

namespace fields {
inline constexpr FieldSpec kMessageId{"message_id", FieldType::kMessageId, kOptional,
                                      "your own id of the message: repeated within the dedupe window, it is stored "
                                      "and sent once"};
inline constexpr FieldSpec kRoom{"room_id", FieldType::kRoomId, kRequired, "the room"};
inline constexpr FieldSpec kUsers{"user_ids", FieldType::kUserIds, kRequired, "the users"};

inline constexpr std::array kJoinRoom = {
    kRoom,
    FieldSpec{"since", FieldType::kUint, kOptional, "the last `seq` seen in this room; what came later is sent again"},
    FieldSpec{"epoch", FieldType::kText, kOptional, "the `epoch` that `since` belongs to"},
};
inline constexpr std::array kLeaveRoom = {kRoom};
inline constexpr std::array kRoomMessage = {
    kRoom,
    FieldSpec{"content", FieldType::kAnyJson, kRequired, "passed on as it is"},
    kMessageId,
};
inline constexpr std::array kDirectMessage = {
    FieldSpec{"to_user", FieldType::kUserId, kRequired, "the recipient"},
    FieldSpec{"content", FieldType::kAnyJson, kRequired, "passed on as it is"},
    kMessageId,
};
inline constexpr std::array kTyping = {kRoom};
inline constexpr std::array kPresence = {kUsers};
inline constexpr std::array kSetStatus = {
    FieldSpec{"status", FieldType::kStatusToSet, kRequired, "the status of this session"},
};
inline constexpr std::array kHistory = {
    FieldSpec{"room_id", FieldType::kRoomId, kOptional, "the room; left out: your own inbox"},
    FieldSpec{"since_seq", FieldType::kUint, kOptional, "events after this `seq`, from the oldest on"},
    FieldSpec{"before_seq", FieldType::kUint, kOptional, "the newest events before this `seq`"},
    FieldSpec{"limit", FieldType::kLimit, kOptional, "at most so many events (default 50)"},
};
inline constexpr std::array kReceived = {
    FieldSpec{"room_id", FieldType::kRoomId, kOptional, "the room; left out: your own inbox"},
    FieldSpec{"seq", FieldType::kUint, kRequired, "everything up to this `seq` was received"},
};
inline constexpr std::array kSignal = {
    FieldSpec{"to_user", FieldType::kUserId, kRequired, "the recipient"},
    FieldSpec{"data", FieldType::kAnyJson, kRequired, "passed on as it is (a WebRTC offer, answer or candidate)"},
    FieldSpec{"to_session", FieldType::kSessionId, kOptional, "only this session of the recipient"},
};
}  // namespace fields

/// In every command.
inline constexpr std::array kCommonFields = {
    FieldSpec{"type", FieldType::kText, kRequired, "the command"},
    FieldSpec{"id", FieldType::kCommandId, kOptional, "echoed in the answer; without it success is silent"},
};

/// The order is that of CommandType.
inline constexpr std::array kCommands = {
    CommandSpec{CommandType::kJoinRoom, "join_room", fields::kJoinRoom,
                "`joined`, then with `since` the `message`s missed",
                "Join a room. Joining again is no error: `joined` says `already`, and `since` is ignored."},
    CommandSpec{CommandType::kLeaveRoom, "leave_room", fields::kLeaveRoom, "`ack` with `room_id`, or `not_in_room`",
                "Leave a room."},
    CommandSpec{CommandType::kRoomMessage, "room_message", fields::kRoomMessage,
                "`ack` with `message`, `seq` and, for a repeated `message_id`, `duplicate`; or `not_in_room`",
                "Send a message to everybody in a room, yourself included."},
    CommandSpec{CommandType::kDirectMessage, "direct_message", fields::kDirectMessage,
                "`ack` with `message`, `seq`, `sessions` and perhaps `duplicate`",
                "Send a message to a user's sessions and to your own other sessions. It waits in the inbox of one who "
                "is away."},
    CommandSpec{CommandType::kTypingStart, "typing_start", fields::kTyping, "`ack`, or `not_in_room`",
                "Tell a room that you type. It ends by itself after 3 s, or with your next message there."},
    CommandSpec{CommandType::kTypingStop, "typing_stop", fields::kTyping, "`ack`, or `not_in_room`",
                "Tell a room that you stopped."},
    CommandSpec{CommandType::kPresenceQuery, "presence_query", fields::kPresence,
                "a `presence` for each user, then `ack` with `count`", "Ask how users are now."},
    CommandSpec{CommandType::kPresenceWatch, "presence_watch", fields::kPresence,
                "`ack`, and a `presence` for each user; later one for every change", "Follow the presence of users."},
    CommandSpec{CommandType::kPresenceUnwatch, "presence_unwatch", fields::kPresence, "`ack`", "Stop following."},
    CommandSpec{CommandType::kSetStatus, "set_status", fields::kSetStatus, "`ack`",
                "Set this session's status. A user is what the best of its sessions is: online, busy, away, offline."},
    CommandSpec{CommandType::kHistory, "history", fields::kHistory, "`history`, or `not_in_room`",
                "Read back kept events. Without `since_seq` and `before_seq`: the newest."},
    CommandSpec{
        CommandType::kCursor, "cursor", {}, "`cursor`", "Ask how far this session has come in all of its streams."},
    CommandSpec{CommandType::kReceived, "received", fields::kReceived, "`ack`", "Confirm that kept events arrived."},
    CommandSpec{CommandType::kSignal, "signal", fields::kSignal, "`ack` with `sessions`, or `user_offline`",
                "Send data to a user's sessions; it is not kept."},
    CommandSpec{CommandType::kPing, "ping", {}, "`pong`", "Ask for a sign of life."},
};

[[nodiscard]] constexpr const CommandSpec& command_spec(CommandType type) {
  return kCommands[static_cast<size_t>(type)];
}

// ---------------------------------------------------------------- events

enum class EventType : uint8_t {
  kConnected,
  kClosed,
  kCursor,
  kAck,
  kError,
  kPong,
  kJoined,
  kHistory,
  kMessage,
  kDirectMessage,
  kNotification,
  kGap,
  kUserJoined,
  kUserLeft,
  kMembers,
  kTypingStart,
  kTypingStop,
  kPresence,
  kSignal,
  kRemoved,
  kBroadcast,
};

/// What becomes of an event when a session reads too slowly.
enum class Delivery : uint8_t {
  kControl,    ///< an answer, or something for one session: always sent while the session lives
  kKept,       ///< has a `seq` in a stream: refilled from it, or announced by `gap`
  kEphemeral,  ///< may be dropped, or replaced by a later one of the same meaning
};

[[nodiscard]] constexpr std::string_view delivery_text(Delivery delivery) {
  switch (delivery) {
    case Delivery::kControl:
      return "control";
    case Delivery::kKept:
      return "kept";
    case Delivery::kEphemeral:
      return "ephemeral";
  }
  return {};
}

struct EventSpec {
  EventType type;
  std::string_view name;
  Delivery delivery;
  std::span<const FieldSpec> fields;  ///< besides `type`
  std::string_view text;
};

namespace fields {
inline constexpr FieldSpec kEcho{"id", FieldType::kCommandId, kOptional, "the command's `id`, if it had one"};
inline constexpr FieldSpec kEventId{"id", FieldType::kEventId, kRequired, "unique and ascending in its stream"};
inline constexpr FieldSpec kEventSeq{"seq", FieldType::kUint, kRequired, "number in its stream, without gaps"};
inline constexpr FieldSpec kFrom{"from", FieldType::kUserId, kRequired, "who sent it"};
inline constexpr FieldSpec kContent{"content", FieldType::kAnyJson, kRequired, "as it was sent"};
inline constexpr FieldSpec kTimestamp{"timestamp", FieldType::kTime, kRequired, "when the server took it"};
inline constexpr FieldSpec kUser{"user_id", FieldType::kUserId, kRequired, "the user"};
inline constexpr FieldSpec kEpoch{"epoch", FieldType::kText, kRequired,
                                  "changes when the stream lost its past: then `seq` starts anew"};
inline constexpr FieldSpec kCount{"member_count", FieldType::kUint, kRequired, "users in the room"};
inline constexpr FieldSpec kRoomOrInbox{"room_id", FieldType::kRoomId, kOptional, "the room; absent: your own inbox"};
inline constexpr FieldSpec kEventMessageId{"message_id", FieldType::kMessageId, kOptional, "the sender's own id of it"};

inline constexpr std::array kConnected = {
    FieldSpec{"session_id", FieldType::kSessionId, kRequired, "this session, for others to name it"},
    FieldSpec{"session_key", FieldType::kText, kRequired, "this session's secret; tell nobody"},
    kUser,
    FieldSpec{"server_id", FieldType::kText, kRequired, "the node"},
    FieldSpec{"heartbeat_ms", FieldType::kUint, kRequired, "how often the server pings"},
    FieldSpec{"cursor", FieldType::kText, kRequired, "where this session starts"},
    FieldSpec{"resumed", FieldType::kBool, kRequired, "whether an earlier session goes on"},
    FieldSpec{
        "recovered", FieldType::kBool, kOptional,
        "only with a cursor: `true` when all that the inbox missed follows; `false`: some of it is no longer kept"},
};
inline constexpr std::array kClosed = {
    FieldSpec{"code", FieldType::kUint, kRequired, "the close code"},
    FieldSpec{"reason", FieldType::kText, kRequired, "its name"},
    FieldSpec{"reconnect", FieldType::kBool, kRequired, "whether to come back (after a back-off)"},
};
inline constexpr std::array kCursorEvent = {
    kEcho,
    FieldSpec{"cursor", FieldType::kText, kRequired, "give it to the next connection, over any transport"},
};
inline constexpr std::array kAck = {
    FieldSpec{"id", FieldType::kCommandId, kRequired, "the command's `id`"},
    FieldSpec{"room_id", FieldType::kRoomId, kOptional, "of `leave_room`"},
    FieldSpec{"message", FieldType::kEventId, kOptional, "of a message: the `id` that its event has"},
    FieldSpec{"seq", FieldType::kUint, kOptional, "of a message: its `seq`"},
    FieldSpec{"duplicate", FieldType::kBool, kOptional, "`true` when the `message_id` was known: nothing was sent"},
    FieldSpec{"sessions", FieldType::kUint, kOptional,
              "of `direct_message` and `signal`: the recipient's sessions reached"},
    FieldSpec{"count", FieldType::kUint, kOptional, "of `presence_query`: users answered"},
};
inline constexpr std::array kError = {
    kEcho,
    FieldSpec{"code", FieldType::kErrorCode, kRequired, "for programs; see the errors below"},
    FieldSpec{"message", FieldType::kText, kRequired, "for people; may change"},
    FieldSpec{"field", FieldType::kText, kOptional, "the field at fault"},
    FieldSpec{"room_id", FieldType::kRoomId, kOptional, "the room that a cursor is wrong about"},
};
inline constexpr std::array kPong = {kEcho};
inline constexpr std::array kJoined = {
    kEcho,
    kRoom,
    FieldSpec{"seq", FieldType::kUint, kRequired, "the newest `seq` of the room at the join; 0: none yet"},
    kEpoch,
    FieldSpec{"members", FieldType::kMembers, kRequired, "users in the room, up to a limit of the server"},
    kCount,
    FieldSpec{"already", FieldType::kBool, kOptional, "`true` when this session was in the room"},
    FieldSpec{"recovered", FieldType::kBool, kOptional,
              "only with `since`: `true` when all that was missed follows; `false`: some of it is no longer kept"},
};
inline constexpr std::array kHistoryEvent = {
    kEcho,
    kRoomOrInbox,
    kEpoch,
    FieldSpec{"messages", FieldType::kEvents, kRequired, "kept events, ascending by `seq`"},
    FieldSpec{"more", FieldType::kBool, kRequired, "whether there are more in the direction asked for"},
};
inline constexpr FieldSpec kMessageEventId{"id", FieldType::kEventId, kOptional,
                                           "unique and ascending in its stream; absent when `ephemeral`"};
inline constexpr FieldSpec kMessageSeq{"seq", FieldType::kUint, kOptional,
                                       "number in its stream, without gaps; absent when `ephemeral`"};
inline constexpr FieldSpec kEphemeralFlag{"ephemeral", FieldType::kBool, kOptional,
                                          "`true`: a backend sent it without keeping it, so it is never sent again"};
inline constexpr std::array kMessage = {
    kMessageEventId, kMessageSeq, kRoom, kFrom, kContent, kTimestamp, kEventMessageId, kEphemeralFlag,
};
inline constexpr std::array kDirectMessageEvent = {
    kMessageEventId, kMessageSeq, kFrom,           FieldSpec{"to_user", FieldType::kUserId, kRequired, "the recipient"},
    kContent,        kTimestamp,  kEventMessageId, kEphemeralFlag,
};
inline constexpr std::array kNotification = {kEventId, kEventSeq};
inline constexpr std::array kGap = {
    kRoomOrInbox,
    FieldSpec{"from_seq", FieldType::kUint, kRequired, "the first event missed"},
    FieldSpec{"to_seq", FieldType::kUint, kRequired, "the last event missed"},
    FieldSpec{
        "epoch", FieldType::kText, kOptional,
        "the stream lost its past: from here on `seq` counts from 1 in this epoch, and what was missed is unknown"},
};
inline constexpr std::array kRoomUser = {kUser, kRoom};
inline constexpr std::array kMembers = {kRoom, kCount};
inline constexpr std::array kPresenceEvent = {
    kUser,
    FieldSpec{"status", FieldType::kStatus, kRequired, "the best of the user's sessions"},
    FieldSpec{"last_seen", FieldType::kTimeOrNull, kRequired, "now, for somebody online; null: never seen"},
};
inline constexpr std::array kSignalEvent = {
    kFrom,
    FieldSpec{"from_session", FieldType::kSessionId, kRequired, "the sender's session, for the answer's `to_session`"},
    FieldSpec{"data", FieldType::kAnyJson, kRequired, "as it was sent"},
};
inline constexpr std::array kRemovedEvent = {kRoom};
inline constexpr std::array kBroadcastEvent = {kFrom, kContent, kTimestamp};
}  // namespace fields

/// The order is that of EventType.
inline constexpr std::array kEvents = {
    EventSpec{EventType::kConnected, "connected", Delivery::kControl, fields::kConnected,
              "The first event of a session."},
    EventSpec{EventType::kClosed, "closed", Delivery::kControl, fields::kClosed,
              "The server ends the session; over SSE and polling, where WebSocket has its close frame."},
    EventSpec{EventType::kCursor, "cursor", Delivery::kControl, fields::kCursorEvent,
              "The answer to `cursor`. (Over SSE, the blocks named `cursor` carry one as their `id`.)"},
    EventSpec{EventType::kAck, "ack", Delivery::kControl, fields::kAck, "A command with an `id` was carried out."},
    EventSpec{EventType::kError, "error", Delivery::kControl, fields::kError,
              "A command was not carried out; the session goes on."},
    EventSpec{EventType::kPong, "pong", Delivery::kControl, fields::kPong, "The answer to `ping`."},
    EventSpec{EventType::kJoined, "joined", Delivery::kControl, fields::kJoined, "The answer to `join_room`."},
    EventSpec{EventType::kHistory, "history", Delivery::kControl, fields::kHistoryEvent, "The answer to `history`."},
    EventSpec{EventType::kMessage, "message", Delivery::kKept, fields::kMessage, "A message in a room."},
    EventSpec{EventType::kDirectMessage, "direct_message", Delivery::kKept, fields::kDirectMessageEvent,
              "A message to you, or one that another session of yours sent."},
    EventSpec{EventType::kNotification, "notification", Delivery::kKept, fields::kNotification,
              "Something that a backend tells you; it has the backend's own fields besides."},
    EventSpec{EventType::kGap, "gap", Delivery::kControl, fields::kGap,
              "Kept events that this session missed and that are no longer kept."},
    EventSpec{EventType::kUserJoined, "user_joined", Delivery::kEphemeral, fields::kRoomUser,
              "A user's first session came into the room."},
    EventSpec{EventType::kUserLeft, "user_left", Delivery::kEphemeral, fields::kRoomUser,
              "A user's last session left the room."},
    EventSpec{EventType::kMembers, "members", Delivery::kEphemeral, fields::kMembers,
              "How many users a large room has, instead of each `user_joined` and `user_left`."},
    EventSpec{EventType::kTypingStart, "typing_start", Delivery::kEphemeral, fields::kRoomUser,
              "A user types in the room."},
    EventSpec{EventType::kTypingStop, "typing_stop", Delivery::kEphemeral, fields::kRoomUser,
              "A user stopped typing in the room."},
    EventSpec{EventType::kPresence, "presence", Delivery::kEphemeral, fields::kPresenceEvent, "How a user is."},
    EventSpec{EventType::kSignal, "signal", Delivery::kControl, fields::kSignalEvent, "Data from another session."},
    EventSpec{EventType::kRemoved, "removed", Delivery::kControl, fields::kRemovedEvent,
              "A backend took this session out of the room, or deleted the room."},
    EventSpec{EventType::kBroadcast, "broadcast", Delivery::kEphemeral, fields::kBroadcastEvent,
              "A backend tells every session of the node."},
};

[[nodiscard]] constexpr const EventSpec& event_spec(EventType type) { return kEvents[static_cast<size_t>(type)]; }
[[nodiscard]] constexpr std::string_view event_name(EventType type) { return event_spec(type).name; }

static_assert([] {
  for (size_t i = 0; i < kCommands.size(); ++i) {
    if (static_cast<size_t>(kCommands[i].type) != i) return false;
    for (const auto& field : kCommands[i].fields)
      if (field.field == Field::kNone) return false;
  }
  for (size_t i = 0; i < kEvents.size(); ++i)
    if (static_cast<size_t>(kEvents[i].type) != i) return false;
  return kCommands.size() == static_cast<size_t>(CommandType::kPing) + 1 &&
         kEvents.size() == static_cast<size_t>(EventType::kBroadcast) + 1;
}());

}  // namespace hubbub::protocol
