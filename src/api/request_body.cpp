#include "hubbub/api/request_body.hpp"

#include <algorithm>
#include <array>

#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/identifier.hpp"
#include "hubbub/protocol/json.hpp"
#include "hubbub/protocol/schema.hpp"

namespace hubbub::api {

using protocol::ErrorCode;
using protocol::JsonMember;
using protocol::JsonValue;

namespace {

constexpr std::int64_t kAckWithinDefaultMs = 5'000;
constexpr std::uint64_t kAckWithinMaxMs = 60'000;
constexpr std::size_t kTypeMaxBytes = 64;

BodyFault bad_field(std::string_view name, std::string_view must) {
  return {ErrorCode::kBadField, std::string(name) + " must be " + std::string(must) + "."};
}

BodyFault not_an_object() { return {ErrorCode::kBadJson, "The body must be a JSON object."}; }

constexpr std::string_view kIdRule = "a string of 1 to 256 bytes without control characters";
constexpr std::string_view kWithinRule = "a whole number from 0 to 60000";

/// A type that no event of the protocol has but those that a stream keeps: nobody may forge the others.
bool may_be_type(std::string_view type) {
  const bool good = !type.empty() && type.size() <= kTypeMaxBytes && std::all_of(type.begin(), type.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
           c == '-';
  });
  return good && std::none_of(protocol::kEvents.begin(), protocol::kEvents.end(), [&](const auto& event) {
           return event.name == type && event.delivery != protocol::Delivery::kKept;
         });
}

}  // namespace

void RequestBody::clear() {
  content = message_id = exclude_user = room_id = to_user = user_ids = publishes = {};
  from = "server";
  ephemeral = sync_ = false;
  ack_within_ms.reset();
  within_ms_.reset();
}

// Decoded texts are never longer than what they are decoded from, so the views hold.
std::string_view RequestBody::text(std::string_view raw) {
  if (scratch_.capacity() < size_) scratch_.reserve(size_);
  return protocol::decode_string(raw, scratch_);
}

std::optional<BodyFault> RequestBody::read(std::string_view json) {
  clear();
  scratch_.clear();
  size_ = json.size();
  std::optional<BodyFault> fault;
  const bool good = protocol::scan_object(json, [&](const JsonMember& member) {
    if (fault) return;
    std::string decoded;
    const std::string_view name = member.key_escaped
                                      ? protocol::decode_string({member.key.data() - 1, member.key.size() + 2}, decoded)
                                      : member.key;
    fault = take(name, member.value.raw);
  });
  if (!good) return not_an_object();
  if (fault) return fault;
  if (sync_) ack_within_ms = within_ms_.value_or(kAckWithinDefaultMs);
  return std::nullopt;
}

std::optional<BodyFault> RequestBody::take_id(std::string_view name, std::string_view raw, std::string_view& out) {
  if (raw.front() != '"') return bad_field(name, kIdRule);
  out = text(raw);
  if (!protocol::is_valid_identifier(out)) return bad_field(name, kIdRule);
  return std::nullopt;
}

std::optional<BodyFault> RequestBody::take(std::string_view name, std::string_view raw) {
  if (name == "content") {
    content = raw;
  } else if (name == "from") {
    return take_id(name, raw, from);
  } else if (name == "exclude_user") {
    return take_id(name, raw, exclude_user);
  } else if (name == "room_id") {
    return take_id(name, raw, room_id);
  } else if (name == "to_user") {
    return take_id(name, raw, to_user);
  } else if (name == "message_id") {
    if (raw.front() == '"') message_id = text(raw);
    if (message_id.empty() || message_id.size() > protocol::kMessageIdMaxBytes) {
      return bad_field(name, "a string of 1 to 128 bytes");
    }
  } else if (name == "ephemeral") {
    if (raw != "true" && raw != "false") return bad_field(name, "true or false");
    ephemeral = raw == "true";
  } else if (name == "report") {
    sync_ = raw == R"("sync")";
    if (!sync_ && raw != R"("none")") return bad_field(name, "\"sync\" or \"none\"");
  } else if (name == "ack_within_ms") {
    const auto number = protocol::parse_uint64(raw);
    if (!number || *number > kAckWithinMaxMs) return bad_field(name, kWithinRule);
    within_ms_ = static_cast<std::int64_t>(*number);
  } else if (name == "user_ids" || name == "publishes") {
    if (raw.front() != '[') return bad_field(name, "an array");
    (name == "user_ids" ? user_ids : publishes) = raw;
  }
  return std::nullopt;
}

std::optional<BodyFault> read_users(std::string_view raw, std::size_t max, std::vector<base::SharedString>& users) {
  if (raw.empty()) return BodyFault{ErrorCode::kMissingField, "user_ids is missing."};
  bool too_many = false;
  std::string decoded;
  const bool good = protocol::scan_array(raw, [&](const JsonValue& value) {
    if (value.kind != protocol::JsonKind::kString) return false;
    decoded.clear();
    const std::string_view user = protocol::decode_string(value.raw, decoded);
    if (!protocol::is_valid_identifier(user)) return false;
    too_many = users.size() == max;
    if (!too_many) users.emplace_back(user);
    return !too_many;
  });
  if (too_many) {
    return BodyFault{ErrorCode::kPayloadTooLarge, "user_ids holds more than " + std::to_string(max) + "."};
  }
  if (!good) return bad_field("user_ids", "an array of user ids");
  return std::nullopt;
}

std::optional<BodyFault> read_notification(std::string_view json, NotificationBody& out) {
  static constexpr std::array<std::string_view, 2> kForTheServer = {"report", "ack_within_ms"};
  bool sync = false;
  std::optional<std::string_view> within;
  std::string decoded;
  const bool good = protocol::scan_object(json, [&](const JsonMember& member) {
    // Escaped names are somebody else's business.
    if (member.key == "type") {
      out.type.clear();
      if (member.value.kind != protocol::JsonKind::kString) return;
      decoded.clear();
      const std::string_view type = protocol::decode_string(member.value.raw, decoded);
      if (may_be_type(type)) out.type = type;
    } else if (member.key == "report") {
      sync = member.value.raw == R"("sync")";
    } else if (member.key == "ack_within_ms") {
      within = member.value.raw;
    }
  });
  if (!good) return not_an_object();
  if (!sync) {
    (void)protocol::append_notification_body(out.body, json);
    return std::nullopt;
  }
  out.ack_within_ms = kAckWithinDefaultMs;
  if (within) {
    const auto number = protocol::parse_uint64(*within);
    if (!number || *number > kAckWithinMaxMs) return bad_field("ack_within_ms", kWithinRule);
    out.ack_within_ms = static_cast<std::int64_t>(*number);
  }
  (void)protocol::append_notification_body(out.body, json, kForTheServer);
  return std::nullopt;
}

}  // namespace hubbub::api
