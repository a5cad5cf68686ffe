#include "hubbub/protocol/schema.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "hubbub/protocol/errors.hpp"

namespace hubbub::protocol {
namespace {

std::string code(std::string_view text) { return "`" + std::string(text) + "`"; }

std::string field_table(std::span<const FieldSpec> fields) {
  if (fields.empty()) return "";
  std::ostringstream out;
  out << "\n| field | type | | meaning |\n|---|---|---|---|\n";
  for (const auto& field : fields)
    out << "| " << code(field.name) << " | " << type_text(field.type) << " | "
        << (field.required ? "required" : "optional") << " | " << field.text << " |\n";
  return out.str();
}

std::string commands_text() {
  std::ostringstream out;
  out << "Every command:\n" << field_table(kCommonFields);
  for (const auto& command : kCommands)
    out << "\n### " << code(command.name) << "\n\n"
        << command.text << " Answer: " << command.answer << ".\n"
        << field_table(command.fields);
  return out.str();
}

std::string events_text() {
  std::ostringstream out;
  out << "| event | delivery | meaning |\n|---|---|---|\n";
  for (const auto& event : kEvents)
    out << "| " << code(event.name) << " | " << delivery_text(event.delivery) << " | " << event.text << " |\n";
  for (const auto& event : kEvents) out << "\n### " << code(event.name) << " (event)\n" << field_table(event.fields);
  return out.str();
}

std::string errors_text() {
  std::ostringstream out;
  out << "| code | HTTP status | default text |\n|---|---|---|\n";
  for (const auto& row : kErrors)
    out << "| " << code(row.code) << " | " << (row.http_status != 0 ? std::to_string(row.http_status) : "") << " | "
        << row.text << " |\n";
  return out.str();
}

std::string closes_text() {
  std::ostringstream out;
  out << "| code | reason | reconnect | sent when | meaning |\n|---|---|---|---|---|\n";
  for (const auto& row : kCloses)
    out << "| " << static_cast<int>(row.value) << " | " << code(row.name) << " | " << (row.reconnect ? "yes" : "no")
        << " | " << row.when << " | " << row.text << " |\n";
  return out.str();
}

/// Puts `table` between the markers of `name`; false when the document has no such markers.
bool put_table(std::string& document, const std::string& name, const std::string& table) {
  const std::string begin = "<!-- table:" + name + " -->\n", end = "<!-- /table -->";
  const size_t from = document.find(begin);
  if (from == std::string::npos) return false;
  const size_t to = document.find(end, from);
  if (to == std::string::npos) return false;
  document.replace(from + begin.size(), to - from - begin.size(), "\n" + table + "\n");
  return true;
}

TEST(Schema, TheProtocolDocumentShowsTheTables) {
  const std::string path = HUBBUB_SOURCE_DIR "/docs/protocol.md";
  std::ifstream in(path);
  const std::string is{std::istreambuf_iterator<char>(in), {}};
  std::string should = is;
  ASSERT_TRUE(put_table(should, "commands", commands_text()));
  ASSERT_TRUE(put_table(should, "events", events_text()));
  ASSERT_TRUE(put_table(should, "errors", errors_text()));
  ASSERT_TRUE(put_table(should, "closes", closes_text()));
  if (is == should) return;
  if (const char* update = std::getenv("HUBBUB_UPDATE_DOCS"); update != nullptr && std::string_view(update) == "1") {
    std::ofstream(path) << should;
    return;
  }
  FAIL() << "docs/protocol.md differs from the schema; run this test with HUBBUB_UPDATE_DOCS=1. It should be:\n"
         << should;
}

TEST(Schema, NamesAreUnique) {
  std::set<std::string_view> commands, events, fields(kFieldNames.begin(), kFieldNames.end());
  for (const auto& command : kCommands) EXPECT_TRUE(commands.insert(command.name).second) << command.name;
  for (const auto& event : kEvents) EXPECT_TRUE(events.insert(event.name).second) << event.name;
  EXPECT_EQ(fields.size(), kFieldCount);
}

TEST(Schema, TextsOfLimitsSayTheLimits) {
  EXPECT_NE(type_text(FieldType::kLimit).find(std::to_string(kHistoryLimitMax)), std::string_view::npos);
  EXPECT_NE(type_text(FieldType::kUserIds).find(std::to_string(kUserIdsMax)), std::string_view::npos);
  EXPECT_NE(type_text(FieldType::kMessageId).find(std::to_string(kMessageIdMaxBytes)), std::string_view::npos);
  EXPECT_NE(type_text(FieldType::kCommandId).find(std::to_string(kCommandIdMaxBytes)), std::string_view::npos);
}

TEST(Schema, EveryKnownFieldIsUsedByACommand) {
  std::set<Field> used = {Field::kType, Field::kId};
  for (const auto& command : kCommands)
    for (const auto& field : command.fields) used.insert(field.field);
  EXPECT_EQ(used.size(), kFieldCount);
}

}  // namespace
}  // namespace hubbub::protocol
