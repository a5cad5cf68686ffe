#include "hubbub/protocol/event.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstring>

#include "hubbub/protocol/json.hpp"
#include "hubbub/protocol/timestamp.hpp"

namespace hubbub::protocol {
namespace {

// Each writes `name` as it is given, comma, quotes and colon included, then the value: one append for what never
// changes.
void put_text(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  append_json_string(out, value);
}
void put_raw(std::string& out, std::string_view name, std::string_view raw) {
  out += name;
  out += raw;
}
void put_uint(std::string& out, std::string_view name, uint64_t value) {
  out += name;
  append_uint(out, value);
}
void put_bool(std::string& out, std::string_view name, bool value) {
  out += name;
  out += value ? "true" : "false";
}
void put_id(std::string& out, std::string_view raw_id) {
  if (!raw_id.empty()) put_raw(out, R"(,"id":)", raw_id);
}
void put_tail(std::string& out, std::string_view content, int64_t timestamp_ms, std::string_view message_id) {
  put_raw(out, R"(,"content":)", content);
  out += R"(,"timestamp":")";
  append_iso8601_ms(out, timestamp_ms);
  out += '"';
  if (!message_id.empty()) put_text(out, R"(,"message_id":)", message_id);
}

constexpr size_t kDigitsMax = 20;  // of a uint64_t

/// There must be room for kDigitsMax; the place behind the last digit.
char* put_digits(char* at, uint64_t value) { return std::to_chars(at, at + kDigitsMax, value).ptr; }

}  // namespace

void append_event_id(std::string& out, EventId id) {
  std::array<char, 2 * kDigitsMax + 1> text;
  char* at = put_digits(text.data(), id.ms);
  *at++ = '-';
  at = put_digits(at, id.seq);
  out.append(text.data(), at);
}

void append_event(std::string& out, const ConnectedEvent& event) {
  put_text(out, R"({"type":"connected","session_id":)", event.session_id);
  put_text(out, R"(,"session_key":)", event.session_key);
  put_text(out, R"(,"user_id":)", event.user_id);
  put_text(out, R"(,"server_id":)", event.server_id);
  put_uint(out, R"(,"heartbeat_ms":)", event.heartbeat_ms);
  put_text(out, R"(,"cursor":)", event.cursor);
  put_bool(out, R"(,"resumed":)", event.resumed);
  if (event.recovered) put_bool(out, R"(,"recovered":)", *event.recovered);
  out += '}';
}

// HOT PATH
void append_event(std::string& out, const AckEvent& event) {
  out += R"({"type":"ack")";
  put_id(out, event.id);
  if (!event.room_id.empty()) put_text(out, R"(,"room_id":)", event.room_id);
  if (event.message) {
    out += R"(,"message":")";
    append_event_id(out, *event.message);
    put_uint(out, R"(","seq":)", event.message->seq);
  }
  if (event.duplicate) out += R"(,"duplicate":true)";
  if (event.sessions) put_uint(out, R"(,"sessions":)", *event.sessions);
  if (event.count) put_uint(out, R"(,"count":)", *event.count);
  out += '}';
}

void append_event(std::string& out, const ErrorEvent& event) {
  const ErrorInfo& info = error_info(event.code);
  out += R"({"type":"error")";
  put_id(out, event.id);
  put_text(out, R"(,"code":)", info.code);
  put_text(out, R"(,"message":)", event.message.empty() ? info.text : event.message);
  if (!event.field.empty()) put_text(out, R"(,"field":)", event.field);
  if (!event.room_id.empty()) put_text(out, R"(,"room_id":)", event.room_id);
  out += '}';
}

void append_event(std::string& out, const CursorEvent& event) {
  out += R"({"type":"cursor")";
  put_id(out, event.id);
  put_text(out, R"(,"cursor":)", event.cursor);
  out += '}';
}

void append_closed_event(std::string& out, CloseCode code) {
  const CloseInfo& info = close_info(code);
  put_uint(out, R"({"type":"closed","code":)", static_cast<uint64_t>(code));
  put_text(out, R"(,"reason":)", info.name);
  put_bool(out, R"(,"reconnect":)", info.reconnect);
  out += '}';
}

void append_event(std::string& out, const JoinedEvent& event) {
  out += R"({"type":"joined")";
  put_id(out, event.id);
  put_text(out, R"(,"room_id":)", event.room_id);
  put_uint(out, R"(,"seq":)", event.seq);
  put_text(out, R"(,"epoch":)", event.epoch);
  std::string_view separator = R"(,"members":[)";
  if (event.members.empty()) out += separator;
  for (const auto& member : event.members) {
    put_text(out, separator, member);
    separator = ",";
  }
  put_uint(out, R"(],"member_count":)", event.member_count);
  if (event.already) out += R"(,"already":true)";
  if (event.recovered) put_bool(out, R"(,"recovered":)", *event.recovered);
  out += '}';
}

void append_event(std::string& out, const PongEvent& event) {
  out += R"({"type":"pong")";
  put_id(out, event.id);
  out += '}';
}

void append_event(std::string& out, const GapEvent& event) {
  out += R"({"type":"gap")";
  if (!event.room_id.empty()) put_text(out, R"(,"room_id":)", event.room_id);
  put_uint(out, R"(,"from_seq":)", event.from_seq);
  put_uint(out, R"(,"to_seq":)", event.to_seq);
  if (!event.epoch.empty()) put_text(out, R"(,"epoch":)", event.epoch);
  out += '}';
}

void append_event(std::string& out, const PresenceEvent& event) {
  put_text(out, R"({"type":"presence","user_id":)", event.user_id);
  put_text(out, R"(,"status":)", event.status);
  out += R"(,"last_seen":)";
  if (event.last_seen_ms) {
    out += '"';
    append_iso8601_ms(out, *event.last_seen_ms);
    out += '"';
  } else {
    out += "null";
  }
  out += '}';
}

void append_event(std::string& out, const SignalEvent& event) {
  put_text(out, R"({"type":"signal","from":)", event.from);
  put_text(out, R"(,"from_session":)", event.from_session);
  put_raw(out, R"(,"data":)", event.data);
  out += '}';
}

void append_event(std::string& out, const RoomUserEvent& event) {
  assert(event.type == EventType::kUserJoined || event.type == EventType::kUserLeft ||
         event.type == EventType::kTypingStart || event.type == EventType::kTypingStop);
  put_raw(out, R"({"type":")", event_name(event.type));
  put_text(out, R"(","user_id":)", event.user_id);
  put_text(out, R"(,"room_id":)", event.room_id);
  out += '}';
}

void append_event(std::string& out, const MembersEvent& event) {
  put_text(out, R"({"type":"members","room_id":)", event.room_id);
  put_uint(out, R"(,"member_count":)", event.member_count);
  out += '}';
}

void append_event(std::string& out, const RemovedEvent& event) {
  put_text(out, R"({"type":"removed","room_id":)", event.room_id);
  out += '}';
}

void append_event(std::string& out, const BroadcastEvent& event) {
  put_text(out, R"({"type":"broadcast","from":)", event.from);
  put_tail(out, event.content, event.timestamp_ms, {});
  out += '}';
}

// HOT PATH
void append_message_body(std::string& out, const MessageBody& body) {
  put_text(out, R"("room_id":)", body.room_id);
  put_text(out, R"(,"from":)", body.from);
  put_tail(out, body.content, body.timestamp_ms, body.message_id);
  if (body.ephemeral) out += R"(,"ephemeral":true)";
}

void append_direct_message_body(std::string& out, const DirectMessageBody& body) {
  put_text(out, R"("from":)", body.from);
  put_text(out, R"(,"to_user":)", body.to_user);
  put_tail(out, body.content, body.timestamp_ms, body.message_id);
  if (body.ephemeral) out += R"(,"ephemeral":true)";
}

bool append_notification_body(std::string& out, std::string_view raw_object,
                              std::span<const std::string_view> without) {
  const size_t before = out.size();
  std::string decoded;
  const bool good = scan_object(raw_object, [&](const JsonMember& member) {
    decoded.clear();
    const std::string_view quoted(member.key.data() - 1, member.key.size() + 2);
    const std::string_view key = decode_string(quoted, decoded);
    if (key == "type" || key == "id" || key == "seq") return;
    if (std::find(without.begin(), without.end(), key) != without.end()) return;
    if (out.size() != before) out += ',';
    out += quoted;
    put_raw(out, ":", member.value.raw);
  });
  if (!good) out.resize(before);
  return good;
}

// HOT PATH
void append_stored_event(std::string& out, std::string_view type, uint64_t id_ms, uint64_t seq, std::string_view body) {
  // The middle is put together on the stack: a handful of appends cost more than the digits.
  std::array<char, 96> text;
  char* at = text.data();
  const auto put = [&at](std::string_view part) {
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  };
  put(R"(","id":")");
  at = put_digits(at, id_ms);
  *at++ = '-';
  const char* const digits = at;
  at = put_digits(at, seq);
  const std::string_view seq_text(digits, static_cast<size_t>(at - digits));
  put(R"(","seq":)");
  put(seq_text);
  out += R"({"type":")";
  out += type;
  out.append(text.data(), at);
  if (!body.empty()) out += ',';
  out += body;
  out += '}';
}

void append_ephemeral_event(std::string& out, std::string_view type, std::string_view body) {
  put_raw(out, R"({"type":")", type);
  out += '"';
  if (!body.empty()) out += ',';
  out += body;
  out += '}';
}

HistoryWriter::HistoryWriter(std::string& out, const HistoryHeader& header) : out_(out) {
  out_ += header.bare ? "{" : R"({"type":"history",)";
  if (!header.id.empty()) {
    put_raw(out_, R"("id":)", header.id);
    out_ += ',';
  }
  if (!header.room_id.empty()) {
    put_text(out_, R"("room_id":)", header.room_id);
    out_ += ',';
  }
  put_text(out_, R"("epoch":)", header.epoch);
  out_ += R"(,"messages":[)";
}

void HistoryWriter::add(std::string_view type, uint64_t id_ms, uint64_t seq, std::string_view body) {
  if (!first_) out_ += ',';
  first_ = false;
  append_stored_event(out_, type, id_ms, seq, body);
}

void HistoryWriter::finish(bool more) {
  put_bool(out_, R"(],"more":)", more);
  out_ += '}';
}

void append_http_error(std::string& out, ErrorCode code, std::string_view message) {
  const ErrorInfo& info = error_info(code);
  put_text(out, R"({"error":{"code":)", info.code);
  put_text(out, R"(,"message":)", message.empty() ? info.text : message);
  out += "}}";
}

}  // namespace hubbub::protocol
