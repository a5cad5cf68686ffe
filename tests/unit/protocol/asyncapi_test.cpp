#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "hubbub/protocol/schema.hpp"

// docs/asyncapi.yaml is written from the same tables that the server checks commands by.
namespace hubbub::protocol {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string schema_of(FieldType type) {
  switch (type) {
    case FieldType::kCommandId:
      return "{type: [string, number]}";
    case FieldType::kUserId:
    case FieldType::kRoomId:
      return "{type: string, minLength: 1, maxLength: 256}";
    case FieldType::kSessionId:
      return "{type: string, pattern: '^([0-9a-f]{8})?[0-9a-f]{16}$'}";
    case FieldType::kMessageId:
      return "{type: string, minLength: 1, maxLength: 128}";
    case FieldType::kText:
    case FieldType::kErrorCode:
      return "{type: string}";
    case FieldType::kUint:
      return "{type: integer, minimum: 0}";
    case FieldType::kLimit:
      return "{type: integer, minimum: 1, maximum: " + std::to_string(kHistoryLimitMax) + "}";
    case FieldType::kStatusToSet:
      return "{type: string, enum: [online, busy, away]}";
    case FieldType::kUserIds:
      return "{type: array, items: {type: string}}";
    case FieldType::kAnyJson:
      return "true";
    case FieldType::kStatus:
      return "{type: string, enum: [online, busy, away, offline]}";
    case FieldType::kBool:
      return "{type: boolean}";
    case FieldType::kTime:
      return "{type: string, format: date-time}";
    case FieldType::kTimeOrNull:
      return "{type: [string, 'null'], format: date-time}";
    case FieldType::kEventId:
      return "{type: string, pattern: '^[0-9]+-[0-9]+$'}";
    case FieldType::kEvents:
      return "{type: array, items: {type: object}}";
    default:
      return "true";  // what a later table adds has a schema as soon as somebody gives it one
  }
}

template <class Fields>
void append_fields(std::string& out, const Fields& fields) {
  for (const FieldSpec& field : fields) {
    const std::string schema = schema_of(field.type);
    out += "          " + std::string(field.name) + ":\n";
    if (schema == "true") {
      out += "            description: " + quoted(field.text) + "\n";
    } else {
      out += "            allOf: [" + schema + "]\n            description: " + quoted(field.text) + "\n";
    }
  }
}

template <class Common, class Fields>
void append_message(std::string& out, std::string_view key, std::string_view name, std::string_view text,
                    const Common& common, const Fields& fields) {
  out += "    " + std::string(key) + ":\n      name: " + std::string(name) + "\n      contentType: application/json\n";
  out += "      summary: " + quoted(text) + "\n      payload:\n        type: object\n";
  out += "        required: [type";
  for (const FieldSpec& field : fields) {
    if (field.required) out += ", " + std::string(field.name);
  }
  out += "]\n        properties:\n          type:\n            const: " + std::string(name) + "\n";
  append_fields(out, common);
  append_fields(out, fields);
}

std::string document() {
  std::string out =
      "# Written from include/hubbub/protocol/schema.hpp by the test AsyncApi.* (HUBBUB_UPDATE_DOCS=1). Do not edit.\n"
      "asyncapi: 3.0.0\n"
      "info:\n"
      "  title: Hubbub\n"
      "  version: 1.0.0\n"
      "  description: Commands and events of the protocol hubbub.v1. docs/protocol.md says what they mean.\n"
      "  license: {name: MIT}\n"
      "defaultContentType: application/json\n"
      "servers:\n"
      "  local: {host: 'localhost:8080', protocol: ws}\n"
      "channels:\n"
      "  session:\n"
      "    address: /ws/{user_id}\n"
      "    title: A session\n"
      "    description: By WebSocket; events also come by /events/{user_id} and /poll/{user_id}, and commands also go "
      "by\n"
      "      /sessions/{session_id}/commands.\n"
      "    parameters:\n"
      "      user_id: {description: The user}\n"
      "    messages:\n";
  const auto command_key = [](std::string_view name) { return "command_" + std::string(name); };
  const auto event_key = [](std::string_view name) { return "event_" + std::string(name); };
  const auto reference = [&out](std::string_view indent, const std::string& key, std::string_view target) {
    out += std::string(indent) + (key.empty() ? "- " : key + ": {") + "$ref: '" + std::string(target) + "'" +
           (key.empty() ? "\n" : "}\n");
  };
  for (const auto& row : kCommands) {
    reference("      ", command_key(row.name), "#/components/messages/" + command_key(row.name));
  }
  for (const auto& row : kEvents)
    reference("      ", event_key(row.name), "#/components/messages/" + event_key(row.name));
  out += "operations:\n  command:\n    action: receive\n    channel: {$ref: '#/channels/session'}\n    messages:\n";
  for (const auto& row : kCommands) reference("      ", {}, "#/channels/session/messages/" + command_key(row.name));
  out += "  event:\n    action: send\n    channel: {$ref: '#/channels/session'}\n    messages:\n";
  for (const auto& row : kEvents) reference("      ", {}, "#/channels/session/messages/" + event_key(row.name));
  out += "components:\n  messages:\n";
  const std::array id = {kCommonFields[1]};
  const std::array<FieldSpec, 0> none{};
  for (const auto& row : kCommands) append_message(out, command_key(row.name), row.name, row.text, id, row.fields);
  for (const auto& row : kEvents) append_message(out, event_key(row.name), row.name, row.text, none, row.fields);
  return out;
}

TEST(AsyncApi, DocumentIsWhatTheTablesSay) {
  const std::string path = HUBBUB_SOURCE_DIR "/docs/asyncapi.yaml";
  const std::string should = document();
  if (const char* update = std::getenv("HUBBUB_UPDATE_DOCS"); update != nullptr && std::string_view(update) == "1") {
    std::ofstream(path) << should;
  }
  std::ifstream in(path);
  const std::string is{std::istreambuf_iterator<char>(in), {}};
  EXPECT_TRUE(is == should) << "docs/asyncapi.yaml differs from the tables; run this test with HUBBUB_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace hubbub::protocol
