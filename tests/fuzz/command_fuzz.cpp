// Any bytes as a command: parsing never crashes, agrees with another parser on what is JSON, and whatever a client
// makes us pass on leaves us as valid JSON with the same meaning.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "hubbub/protocol/command.hpp"
#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/identifier.hpp"
#include "hubbub/protocol/json.hpp"

namespace {

using namespace hubbub::protocol;
using Json = nlohmann::json;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

size_t depth_of(std::string_view valid) {
  size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < valid.size(); ++i) {
    const char c = valid[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

/// nlohmann takes a NUL byte for the end of the text and skips a byte order mark; RFC 8259 knows neither.
bool is_json(std::string_view text) {
  return text.find('\0') == std::string_view::npos && !text.starts_with("\xEF\xBB\xBF") && Json::accept(text) &&
         depth_of(text) <= kJsonDepthMax;
}

/// The event must be valid, and hold under `key` what `raw` says.
void require_event(const std::string& event, const char* key, std::string_view raw) {
  const Json json = Json::parse(event, nullptr, false);
  require(!json.is_discarded(), "an event is valid JSON");
  require(json.is_object() && json.contains(key) && json[key] == Json::parse(raw), "an event carries what was sent");
}

void require_echo(std::string_view id) {
  if (id.empty()) return;
  require(is_json(id), "an echoed id is valid JSON");
  std::string out;
  append_event(out, AckEvent{.id = id, .room_id = "r"});
  require_event(out, "id", id);
}

void require_texts(const Command& command) {
  for (const auto id : {command.room_id, command.to_user, command.to_session})
    require(id.empty() || is_valid_identifier(id), "ids are checked");
  for (const auto id : command.user_ids) require(is_valid_identifier(id), "ids in lists are checked");
  require(command.message_id.size() <= kMessageIdMaxBytes && command.user_ids.size() <= kUserIdsMax, "limits are kept");
  for (const auto& field : command_spec(command.type).fields) {
    if (!field.required) continue;
    switch (field.type) {
      case FieldType::kRoomId:
        require(!command.room_id.empty(), "room_id is there");
        break;
      case FieldType::kUserId:
        require(!command.to_user.empty(), "to_user is there");
        break;
      case FieldType::kAnyJson:
        require(!command.content.empty() || !command.data.empty(), "content is there");
        break;
      case FieldType::kUint:
        require(command.seq.has_value(), "seq is there");
        break;
      default:
        break;
    }
  }
}

void require_reemitted(const Command& command) {
  require_echo(command.id);
  if (!command.content.empty()) {
    require(is_json(command.content), "content is valid JSON");
    std::string body, event;
    append_message_body(body, {.room_id = command.room_id,
                               .from = command.to_user,
                               .content = command.content,
                               .timestamp_ms = 1'795'549'204'123,
                               .message_id = command.message_id});
    append_stored_event(event, "message", 1, 2, body);
    require_event(event, "content", command.content);
    require(Json::parse(event)["room_id"] == command.room_id, "room_id reads back");
  }
  if (!command.data.empty()) {
    require(is_json(command.data), "data is valid JSON");
    std::string event;
    append_event(event, SignalEvent{.from = command.to_user, .from_session = command.to_session, .data = command.data});
    require_event(event, "data", command.data);
  }
  if (!command.user_ids.empty()) {
    std::string event;
    append_event(event, JoinedEvent{.room_id = "r", .epoch = command.epoch, .members = command.user_ids});
    const Json json = Json::parse(event, nullptr, false);
    require(!json.is_discarded() && json["members"].size() == command.user_ids.size(), "members read back");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Kept from input to input, as a shard keeps it: nothing of an earlier command may leak into a later one.
  static CommandParser parser;
  const std::string text(reinterpret_cast<const char*>(data), size);

  const bool json = is_json(text);
  require(is_valid_json(text) == json, "the scanner agrees with the oracle");
  const bool object = json && Json::parse(text).is_object();

  const auto result = parser.parse(text);
  const bool bad_json = !result && result.error().code == ErrorCode::kBadJson;
  require(bad_json == !object, "bad_json exactly when it is no valid JSON object");
  if (result) {
    require_texts(*result);
    require_reemitted(*result);
  } else {
    require_echo(result.error().id);
  }

  std::string body, event;
  const bool taken = append_notification_body(body, text);
  require(taken == object, "a notification is any valid object");
  append_stored_event(event, "notification", 1, 2, body);
  require(Json::accept(event), "a notification is passed on as valid JSON");
  return 0;
}
