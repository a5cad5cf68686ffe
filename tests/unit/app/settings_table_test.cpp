#include "hubbub/app/settings_table.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace hubbub::app {
namespace {

std::string set(std::string_view key, std::vector<std::string> values, Settings& settings) {
  return set_setting(*find_setting(key), values, settings).value_or("");
}

void expect_file(const std::string& name, const std::string& wanted) {
  const std::string path = std::string(HUBBUB_SOURCE_DIR) + "/" + name;
  if (std::getenv("HUBBUB_UPDATE_DOCS") != nullptr) std::ofstream(path) << wanted;
  std::ifstream stream(path);
  std::ostringstream found;
  found << stream.rdbuf();
  EXPECT_TRUE(found.str() == wanted) << name << " is not what the table says: run this with HUBBUB_UPDATE_DOCS=1";
}

TEST(SettingsTable, DocumentIsWhatTheTableSays) { expect_file("docs/configuration.md", configuration_document()); }

TEST(SettingsTable, ExampleConfigIsWhatTheTableSays) { expect_file("config/hubbub.toml", example_config()); }

TEST(SettingsTable, EachKeyFlagAndVariableIsThereOnce) {
  std::set<std::string> names;
  for (const SettingRow& row : settings_table()) {
    EXPECT_TRUE(names.insert(flag_name(row)).second) << row.key;
    EXPECT_EQ(find_setting(row.key), &row);
    EXPECT_FALSE(row.text.empty()) << row.key;
  }
  EXPECT_EQ(flag_name(*find_setting("message_max_bytes")), "--message-max-bytes");
  EXPECT_EQ(environment_name(*find_setting("message_max_bytes")), "HUBBUB_MESSAGE_MAX_BYTES");
}

TEST(SettingsTable, EachDefaultIsWithinItsOwnRange) {
  const Settings defaults;
  for (const SettingRow& row : settings_table()) {
    Settings settings;
    std::string value = toml_value(row, defaults);
    std::erase_if(value, [](char c) { return c == '"' || c == '[' || c == ']'; });
    const bool no_values = row.type == SettingType::kList && value.empty();
    EXPECT_EQ(set(row.key, no_values ? std::vector<std::string>{} : std::vector{value}, settings), "") << row.key;
    EXPECT_EQ(settings, defaults) << row.key;
  }
}

TEST(SettingsTable, NumbersOutsideTheirRangeAreRefusedAndNothingIsStored) {
  Settings settings;
  EXPECT_EQ(set("shards", {"256"}, settings), "");
  EXPECT_EQ(set("shards", {"257"}, settings), "'257' is out of range (0 to 256)");
  EXPECT_EQ(settings.shards, 256U);
  // Four times it must fit in an out queue's 32 bits; a session's slot in 24.
  EXPECT_EQ(set("out_queue_bytes", {"257MiB"}, settings), "'257MiB' is out of range (1KiB to 256MiB)");
  EXPECT_EQ(set("max_sessions", {"16000001"}, settings), "'16000001' is out of range (1 to 16000000)");
  EXPECT_EQ(set("message_max_bytes", {"64MiB"}, settings), "");
  EXPECT_EQ(set("message_max_bytes", {"65MiB"}, settings), "'65MiB' is out of range (1 to 64MiB)");
  EXPECT_EQ(set("message_max_bytes", {"0"}, settings), "'0' is out of range (1 to 64MiB)");
  EXPECT_EQ(set("heartbeat", {"2h"}, settings), "'2h' is out of range (10ms to 1h)");
  EXPECT_EQ(set("compression_level", {"10"}, settings), "'10' is out of range (1 to 9)");
}

TEST(SettingsTable, ValuesOfTheWrongTypeAreRefusedWithWhatIsWanted) {
  Settings settings;
  EXPECT_EQ(set("shards", {"many"}, settings), "'many' is not a whole number");
  EXPECT_EQ(set("heartbeat", {"soon"}, settings), "'soon' is not a duration such as 30s, 500ms, 5m, 24h or 7d");
  EXPECT_EQ(set("out_queue_bytes", {"1MB"}, settings), "'1MB' is not a size such as 65536, 64KiB or 1MiB");
  EXPECT_EQ(set("compression", {"yes"}, settings), "'yes' is not true or false");
  EXPECT_EQ(set("log_format", {"xml"}, settings), "'xml' is not text or json");
  EXPECT_EQ(set("log_level", {"loud"}, settings), "'loud' is not trace, debug, info, warn, error or off");
  EXPECT_EQ(set("broker", {"mem"}, settings), "'mem' is not memory or redis");
  EXPECT_EQ(set("server_id", {"a b"}, settings), "'a b' is not up to 64 letters, digits, '.', '_' and '-'");
  EXPECT_EQ(set("log_file", {"a\nb"}, settings), "control characters are not allowed");
  EXPECT_EQ(set("listen", {}, settings), "needs at least one value");
  EXPECT_EQ(set("shards", {"1", "2"}, settings), "needs exactly one value");
  EXPECT_EQ(settings, Settings{});
}

TEST(SettingsTable, RetentionRulesAreCheckedAndCounted) {
  Settings settings;
  EXPECT_EQ(set("retain", {"room:news-* count=10 age=1h bytes=64KiB", R"(inbox:a\ b age=7d)"}, settings), "");
  EXPECT_EQ(settings.retain.size(), 2U);
  EXPECT_EQ(toml_value(*find_setting("retain"), settings),
            R"(["room:news-* count=10 age=1h bytes=64KiB", 'inbox:a\ b age=7d'])");
  EXPECT_EQ(set("retain", {"room:* count=1", "room:x"}, settings),
            "'room:x' needs count=, age= or bytes= after the pattern");
  EXPECT_EQ(set("retain", {"room:* count=many"}, settings),
            "'room:* count=many' has the count 'many', not a whole number (0 to 10000000)");
  EXPECT_EQ(set("retain", {"news-* count=1"}, settings),
            "'news-* count=1' starts neither with 'room:' nor with 'inbox:'");
  EXPECT_EQ(set("retain", {"room:a\tb count=1"}, settings), "control characters are not allowed");
  EXPECT_EQ(set("retain", std::vector<std::string>(64, "room:* count=1"), settings), "");
  EXPECT_EQ(set("retain", std::vector<std::string>(65, "room:* count=1"), settings), "takes at most 64 values");
  EXPECT_EQ(settings.retain.size(), 64U);
  EXPECT_EQ(set("retain", {}, settings), "");
  EXPECT_EQ(settings, Settings{});
}

TEST(SettingsTable, WhatAUserTypedIsShownShortAndOnOneLine) {
  EXPECT_EQ(shown_value("a\n\x1b[31m"), "'a??[31m'");
  EXPECT_EQ(shown_value(std::string(500, 'x')), "'" + std::string(80, 'x') + "...'");
}

TEST(SettingsTable, SecretsAreMaskedAndNotQuotedInErrors) {
  const SettingRow row{.group = "",
                       .key = "key",
                       .type = SettingType::kText,
                       .member = &Settings::log_file,
                       .choices = "a|b",
                       .secret = true};
  Settings settings;
  EXPECT_EQ(toml_value(row, settings), "\"\"");
  settings.log_file = "hunter2";
  EXPECT_EQ(toml_value(row, settings), "\"***\"");
  EXPECT_EQ(set_setting(row, std::array{std::string("hunter3")}, settings), "the value is not acceptable");
}

TEST(SettingsTable, ANearKeyIsSuggestedAndAHiddenOneIsNot) {
  EXPECT_EQ(nearest_key("hartbeat"), "heartbeat");
  EXPECT_EQ(nearest_key("shard"), "shards");
  EXPECT_EQ(nearest_key("test_ech"), "");
  EXPECT_EQ(nearest_key("something_else"), "");
  EXPECT_EQ(configuration_document().find("test_echo"), std::string::npos);
  EXPECT_EQ(example_config().find("test_echo"), std::string::npos);
}

TEST(ListenAddress, TakesNumericHostsAndLocalhost) {
  const auto v4 = parse_listen_address("127.0.0.1:8080");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->address, "127.0.0.1");
  EXPECT_EQ(v4->port, 8080);
  const auto v6 = parse_listen_address("[::1]:0");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->address, "::1");
  EXPECT_EQ(v6->port, 0);
  EXPECT_EQ(parse_listen_address("localhost:80")->address, "127.0.0.1");
  EXPECT_EQ(parse_listen_address("0.0.0.0:65535")->port, 65535);
}

TEST(ListenAddress, RefusesEverythingElse) {
  for (const auto* bad : {"",
                          ":",
                          "8080",
                          ":8080",
                          "127.0.0.1",
                          "127.0.0.1:",
                          "127.0.0.1:65536",
                          "127.0.0.1:+1",
                          "127.0.0.1:-1",
                          "127.0.0.1: 1",
                          "127.0.0.1:8_0",
                          "127.0.0.1:000080",
                          "::1:80",
                          "[::1]",
                          "[::1]80",
                          "[]:80",
                          "[127.0.0.1]:80",
                          "example.org:80",
                          "127.1:80",
                          "256.0.0.1:80",
                          "[fe80::1%eth0]:80",
                          "http://127.0.0.1:80",
                          "*:80",
                          "127.0.0.1:80 "}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

TEST(ListenAddress, KnowsLoopback) {
  for (const auto* yes : {"127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "[::ffff:127.0.0.1]:1"}) {
    EXPECT_TRUE(parse_listen_address(yes)->loopback) << yes;
  }
  for (const auto* no : {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"}) {
    EXPECT_FALSE(parse_listen_address(no)->loopback) << no;
  }
}

TEST(OpenMode, ListensOnlyOnLoopbackUnlessToldOtherwise) {
  Settings settings;
  settings.listen = {"127.0.0.1:1", "[::1]:1"};
  EXPECT_FALSE(find_conflict(settings));
  settings.listen.emplace_back("0.0.0.0:1");
  const auto conflict = find_conflict(settings);
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->key, "listen");
  EXPECT_NE(conflict->text.find("0.0.0.0:1"), std::string::npos);
  EXPECT_NE(conflict->text.find("--insecure-open"), std::string::npos);
  settings.insecure_open = true;
  EXPECT_FALSE(find_conflict(settings));
}

}  // namespace
}  // namespace hubbub::app
