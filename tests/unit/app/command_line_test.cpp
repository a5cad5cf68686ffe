#include "hubbub/app/command_line.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <variant>
#include <vector>

namespace hubbub::app {
namespace {

class CommandLine : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "hubbub-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& content) {
    path_ = (folder_ / "hubbub.toml").string();
    std::ofstream(path_, std::ios::binary) << content;
    return path_;
  }

  static std::variant<app::Run, HealthCheck, Exit> call(std::vector<std::string> arguments,
                                                        const Environment& environment = {}) {
    std::vector<const char*> argv{"hubbub"};
    for (const auto& argument : arguments) argv.push_back(argument.c_str());
    return parse(static_cast<int>(argv.size()), argv.data(), environment);
  }

  static Settings settings(std::vector<std::string> arguments, const Environment& environment = {}) {
    auto result = call(std::move(arguments), environment);
    if (auto* exit = std::get_if<Exit>(&result)) {
      ADD_FAILURE() << exit->text;
      return {};
    }
    return std::get<app::Run>(result).settings;
  }

  static std::string output(std::vector<std::string> arguments, const Environment& environment = {}) {
    const auto result = call(std::move(arguments), environment);
    const auto* exit = std::get_if<Exit>(&result);
    if (!exit || exit->code != 0) {
      ADD_FAILURE() << (exit ? exit->text : "it runs");
      return {};
    }
    return exit->text;
  }

  // The error without "hubbub: " and the line's end; exactly one line and exit code 2.
  static std::string error(std::vector<std::string> arguments, const Environment& environment = {}) {
    const auto result = call(std::move(arguments), environment);
    const auto* exit = std::get_if<Exit>(&result);
    if (!exit) return "none";
    EXPECT_EQ(exit->code, 2);
    EXPECT_EQ(std::count(exit->text.begin(), exit->text.end(), '\n'), 1) << exit->text;
    EXPECT_TRUE(exit->text.starts_with("hubbub: ") && exit->text.ends_with("\n")) << exit->text;
    return exit->text.substr(8, exit->text.size() - 9);
  }

  // The error in a file of these lines, without the file's name.
  std::string file_error(const std::string& content) {
    auto text = error({"serve", "--config", file(content)});
    if (text.starts_with(path_)) text.erase(0, path_.size() + 1);
    return text;
  }

  static HealthTarget health(std::vector<std::string> arguments, const Environment& environment = {}) {
    arguments.insert(arguments.begin(), "healthcheck");
    const auto result = call(std::move(arguments), environment);
    if (const auto* check = std::get_if<HealthCheck>(&result)) return check->target;
    ADD_FAILURE() << (std::holds_alternative<Exit>(result) ? std::get<Exit>(result).text : "it runs");
    return {};
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(CommandLine, WithoutACommandPrintsHelpAndFails) {
  const auto result = call({});
  const auto& exit = std::get<Exit>(result);
  EXPECT_EQ(exit.code, 2);
  for (const auto* command : {"serve", "check-config", "print-config"}) {
    EXPECT_NE(exit.text.find(command), std::string::npos) << command;
  }
}

TEST_F(CommandLine, VersionAndHelpSucceed) {
  EXPECT_EQ(output({"--version"}), "hubbub " HUBBUB_VERSION "\n");
  EXPECT_EQ(output({"--help"}), output({"-h"}));
  EXPECT_NE(output({"--help"}).find("print-config"), std::string::npos);
}

TEST_F(CommandLine, HelpOfACommandNamesEverySettingThatIsNotHidden) {
  for (const auto* command : {"serve", "check-config", "print-config"}) {
    const auto help = output({command, "--help"});
    for (const SettingRow& row : settings_table()) {
      EXPECT_EQ(help.find("  " + flag_name(row)) != std::string::npos, !row.hidden) << row.key;
      EXPECT_EQ(help.find(environment_name(row)) != std::string::npos, !row.hidden) << row.key;
    }
    EXPECT_NE(help.find("--config"), std::string::npos);
    EXPECT_EQ(help.find(" \n"), std::string::npos);
  }
}

TEST_F(CommandLine, ServeWithoutAnythingHasTheDefaults) { EXPECT_EQ(settings({"serve"}), Settings{}); }

TEST_F(CommandLine, EverySettingHasAFlagAVariableAndAKeyThatDoTheSame) {
  for (const SettingRow& row : settings_table()) {
    std::string value;
    switch (row.type) {
      case SettingType::kText:
        value = row.choices.empty() ? "name" : std::string(row.choices.substr(row.choices.rfind('|') + 1));
        break;
      case SettingType::kList:
        value = row.key == "retain" ? "room:* count=7" : row.key == "redis_url" ? "redis://[::1]:7" : "[::1]:7";
        break;
      case SettingType::kFlag:
        value = row.key == "compression" ? "false" : "true";
        break;
      case SettingType::kCount:
        value = std::to_string(std::min<std::uint64_t>(row.max, row.min + 7));
        break;
      case SettingType::kSize:
        value = std::to_string(row.max);
        break;
      case SettingType::kDuration:
        value = std::to_string(row.min + 7) + "ms";
        break;
    }
    Settings wanted;
    ASSERT_FALSE(set_setting(row, std::vector{value}, wanted)) << row.key;
    EXPECT_NE(wanted, Settings{}) << row.key;
    std::string toml = value;
    if (row.type == SettingType::kText || row.type == SettingType::kDuration) toml = "\"" + value + "\"";
    if (row.type == SettingType::kList) toml = "[\"" + value + "\"]";
    EXPECT_EQ(settings({"serve", flag_name(row) + "=" + value}), wanted) << row.key;
    EXPECT_EQ(settings({"serve"}, {{environment_name(row), value}}), wanted) << row.key;
    EXPECT_EQ(settings({"serve", "--config", file(std::string(row.key) + " = " + toml)}), wanted) << row.key;
  }
}

TEST_F(CommandLine, FlagWinsOverEnvironmentOverFileOverDefault) {
  const auto config = file("shards = 1\nheartbeat = \"11s\"\ntyping_ttl = \"1s\"\n");
  const Environment environment{{"HUBBUB_SHARDS", "2"}, {"HUBBUB_HEARTBEAT", "12s"}};
  const auto result = settings({"serve", "--config", config, "--shards", "3"}, environment);
  EXPECT_EQ(result.shards, 3U);
  EXPECT_EQ(result.heartbeat.count(), 12'000);
  EXPECT_EQ(result.typing_ttl.count(), 1'000);
  EXPECT_EQ(result.close_timeout, Settings{}.close_timeout);
}

TEST_F(CommandLine, AListIsReplacedByAStrongerPlaceNotAddedTo) {
  const auto config = file("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n");
  const Environment environment{{"HUBBUB_LISTEN", "127.0.0.1:3, [::1]:4"}};
  using List = std::vector<std::string>;
  EXPECT_EQ(settings({"serve", "-c", config}).listen, (List{"127.0.0.1:1", "127.0.0.1:2"}));
  EXPECT_EQ(settings({"serve", "-c", config}, environment).listen, (List{"127.0.0.1:3", "[::1]:4"}));
  EXPECT_EQ(settings({"serve", "-c", config, "--listen", "127.0.0.1:5", "--listen", "[::1]:6"}, environment).listen,
            (List{"127.0.0.1:5", "[::1]:6"}));
}

TEST_F(CommandLine, ARetentionRuleIsOneValueWhereverItIsGiven) {
  using List = std::vector<std::string>;
  const List wanted{"room:a,b* count=10 age=1h", "inbox:tea\\ room  bytes=1KiB"};
  EXPECT_EQ(settings({"serve", "--retain", wanted[0], "--retain=" + wanted[1]}).retain, wanted);
  EXPECT_EQ(settings({"serve", "-c", file("retain = [ \"" + wanted[0] + "\", # one\n '" + wanted[1] + "' ]")}).retain,
            wanted);
  EXPECT_EQ(settings({"serve"}, {{"HUBBUB_RETAIN", "room:a* count=1, inbox:* age=7d"}}).retain,
            (List{"room:a* count=1", "inbox:* age=7d"}));
  EXPECT_EQ(settings({"serve", "-c", file("retain = []")}).retain, List{});
}

TEST_F(CommandLine, TheFileMayBeNamedByTheEnvironmentAndTheFlagWins) {
  const auto config = file("shards = 7\n");
  EXPECT_EQ(settings({"serve"}, {{"HUBBUB_CONFIG", config}}).shards, 7U);
  EXPECT_EQ(settings({"serve", "--config", config}, {{"HUBBUB_CONFIG", "/nowhere"}}).shards, 7U);
}

TEST_F(CommandLine, TheLastOfARepeatedFlagWins) {
  EXPECT_EQ(settings({"serve", "--shards", "1", "--shards", "2"}).shards, 2U);
  EXPECT_FALSE(settings({"serve", "--compression", "--no-compression"}).compression);
  EXPECT_TRUE(settings({"serve", "--no-compression", "--compression"}).compression);
}

TEST_F(CommandLine, AnEmptyVariableCountsAsNotSet) {
  EXPECT_EQ(settings({"serve"}, {{"HUBBUB_SHARDS", ""}, {"HUBBUB_CONFIG", ""}}), Settings{});
}

TEST_F(CommandLine, AnEmptyTextCanBeGivenByFlag) {
  EXPECT_EQ(settings({"serve", "--log-file", ""}, {{"HUBBUB_LOG_FILE", "x"}}).log_file, "");
  EXPECT_EQ(settings({"serve", "--log-file="}, {{"HUBBUB_LOG_FILE", "x"}}).log_file, "");
}

TEST_F(CommandLine, BadUseIsOneLineThatNamesTheFlag) {
  EXPECT_EQ(error({"srve"}), "unknown command 'srve'");
  EXPECT_EQ(error({"serve", "extra"}), "unexpected argument 'extra'");
  EXPECT_EQ(error({"serve", "--hartbeat", "3s"}), "unknown flag '--hartbeat'; did you mean --heartbeat?");
  EXPECT_EQ(error({"serve", "--wat=1"}), "unknown flag '--wat'");
  EXPECT_EQ(error({"serve", "-x"}), "unknown flag '-x'");
  EXPECT_EQ(error({"serve", "--shards", "300"}), "--shards: '300' is out of range (0 to 256)");
  EXPECT_EQ(error({"serve", "--shards", "-1"}), "--shards: '-1' is not a whole number");
  EXPECT_EQ(error({"serve", "--compression=maybe"}), "--compression: 'maybe' is not true or false");
  EXPECT_EQ(error({"serve", "--listen", "here:1"}),
            "--listen: 'here:1' is not host:port or [v6]:port with a numeric host or localhost");
  EXPECT_EQ(error({"serve", "--retain", "room:* count=1", "--retain", "room:a"}),
            "--retain: 'room:a' needs count=, age= or bytes= after the pattern");
  EXPECT_NE(error({"serve", "--shards"}).find("--shards"), std::string::npos);
  EXPECT_EQ(error({"--shards", "2", "serve"}), "'--shards' cannot stand before the command: see hubbub --help");
  EXPECT_EQ(error({"serve", "--config", ""}), "--config: needs the name of a file");
}

TEST_F(CommandLine, BadUseIsOneLineThatNamesTheVariable) {
  EXPECT_EQ(error({"serve"}, {{"HUBBUB_SHARDS", "abc"}}), "HUBBUB_SHARDS: 'abc' is not a whole number");
  EXPECT_EQ(error({"serve", "--shards", "1"}, {{"HUBBUB_SHARDS", "abc"}}),
            "HUBBUB_SHARDS: 'abc' is not a whole number");
}

TEST_F(CommandLine, AnUnknownVariableIsOnlyAWarning) {
  const auto result = call({"serve"}, {{"HUBBUB_SHARD", "1"},
                                       {"HUBBUB_PORT", "tcp://10.0.0.1"},
                                       {"HUBBUB_UPDATE_DOCS", "1"},
                                       {"HUBBUBX", "1"},
                                       {"PATH", "/bin"}});
  const std::vector<std::string> wanted{
      "unknown environment variable 'HUBBUB_PORT' is ignored",
      "unknown environment variable 'HUBBUB_SHARD' is ignored; did you mean HUBBUB_SHARDS?"};
  EXPECT_EQ(std::get<app::Run>(result).warnings, wanted);
}

TEST_F(CommandLine, AFileThatCannotBeReadIsBadUse) {
  const auto missing = (folder_ / "none.toml").string();
  EXPECT_EQ(error({"serve", "--config", missing}),
            "cannot read configuration file '" + missing + "': No such file or directory");
  EXPECT_NE(error({"serve", "--config", folder_.string()}).find("Is a directory"), std::string::npos);
  EXPECT_NE(file_error(std::string(2'000'000, '#')).find("File too large"), std::string::npos);
}

TEST_F(CommandLine, ReadsWhatTomlAllowsInAFlatFile) {
  const auto result = settings({"serve", "-c",
                                file("\xEF\xBB\xBF# comment\r\n"
                                     "listen = [ \"127.0.0.1:1\" , # one\r\n"
                                     "\r\n"
                                     "  '[::1]:2',  # two = 2\r\n"
                                     "] # end\r\n"
                                     "log_file = 'a#b, c=\\d \"e\".log' # not \"closed\r\n"
                                     "\theartbeat=\"20s\"\r\n"
                                     "typing_ttl = 4\r\n"
                                     "\"shards\" = 3\r\n"
                                     "message_max_bytes = 65_537\r\n"
                                     "out_queue_bytes = \"2MiB\"\r\n"
                                     "compression = false")});
  EXPECT_EQ(result.listen, (std::vector<std::string>{"127.0.0.1:1", "[::1]:2"}));
  EXPECT_EQ(result.log_file, "a#b, c=\\d \"e\".log");
  EXPECT_EQ(result.heartbeat.count(), 20'000);
  EXPECT_EQ(result.typing_ttl.count(), 4'000);
  EXPECT_EQ(result.shards, 3U);
  EXPECT_EQ(result.message_max_bytes, 65'537U);
  EXPECT_EQ(result.out_queue_bytes, 2U << 20U);
  EXPECT_FALSE(result.compression);
}

TEST_F(CommandLine, AnErrorInTheFileNamesLineAndKey) {
  EXPECT_EQ(file_error("# fine\n\nhartbeat = 3"), "3: unknown key 'hartbeat'; did you mean heartbeat?");
  EXPECT_EQ(file_error("limits.shards = 3"), "1: unknown key 'limits.shards'");
  EXPECT_EQ(file_error("x=1"), "1: unknown key 'x'");
  EXPECT_EQ(file_error("shards = 300"), "1: shards: '300' is out of range (0 to 256)");
  EXPECT_EQ(file_error("shards = 1\nshards = 1"), "2: shards stands a second time, first in " + path_ + ":1");
  EXPECT_EQ(file_error("listen = [\n\"127.0.0.1:1\",\n\"nowhere\"]"),
            "1: listen: 'nowhere' is not host:port or [v6]:port with a numeric host or localhost");
}

TEST_F(CommandLine, SectionsAndThingsThatAreNoLineOfTomlAreRefused) {
  EXPECT_EQ(file_error("[limits]\nshards = 1"),
            "1: '[limits]' opens a section; there are none, all keys stand at the top");
  EXPECT_EQ(file_error("[[x]]"), "1: '[[x]]' opens a section; there are none, all keys stand at the top");
  for (const auto* line : {"shards", "a", "=", "==", "= 3", "shards =", "]", "shards = # 3"}) {
    EXPECT_NE(file_error(line).find("is not key = value"), std::string::npos) << line;
  }
  EXPECT_EQ(file_error("\n\""), "2: a string is not closed");
  EXPECT_EQ(file_error("log_level = \"info"), "1: a string is not closed");
  EXPECT_EQ(file_error("listen = [\"127.0.0.1:1\"\n\n"), "1: an array is not closed");
}

TEST_F(CommandLine, ValuesOfAnotherTomlTypeAreRefused) {
  EXPECT_EQ(file_error("shards = \"3\""), "1: shards needs a number, without quotes");
  EXPECT_EQ(file_error("shards = [3]"), "1: shards needs a number, without quotes");
  EXPECT_EQ(file_error("shards = 1 2"), "1: shards: needs exactly one value");
  EXPECT_EQ(file_error("compression = \"true\""), "1: compression needs true or false, without quotes");
  EXPECT_EQ(file_error("compression = 1"), "1: compression needs true or false, without quotes");
  EXPECT_EQ(file_error("heartbeat = 30s"), "1: heartbeat needs a plain number, or a number and its unit in quotes");
  EXPECT_EQ(file_error("listen = \"127.0.0.1:1\""), "1: listen needs an array such as [\"a\", \"b\"]");
  EXPECT_EQ(file_error("listen = [1]"), "1: listen needs quoted text in its array");
  EXPECT_EQ(file_error("listen = [\"a\" \"b\"]"), "1: listen lacks a comma in its array");
  EXPECT_EQ(file_error("listen = []"), "1: listen: needs at least one value");
  for (const auto* value : {"info", "\"info\" x", "\"a\" \"b\"", "\"\"\"info\"\"\"", "{ a = 1 }", "1", "true"}) {
    EXPECT_EQ(file_error(std::string("log_level = ") + value), "1: log_level needs text in quotes") << value;
  }
  for (const auto* value : {R"("a\nb")", R"("a\)"}) {
    EXPECT_EQ(file_error(std::string("log_file = ") + value),
              "1: of escapes only \\\" and \\\\ are known: use '...' for a value with backslashes");
  }
  EXPECT_EQ(file_error(R"(log_file = "a\")"), "1: a string is not closed");
}

TEST_F(CommandLine, NoBytesInAFileCanDoMoreThanBeRefused) {
  const std::string alphabet = "a=[]\"'#\\,. \t\r\n1{}`\0\xff";
  std::uint32_t random = 1;
  for (int round = 0; round < 2'000; ++round) {
    std::string content = round % 2 == 0 ? "" : "listen = ";
    for (int i = 0; i < 12; ++i) {
      random = random * 1'664'525U + 1'013'904'223U;
      content += alphabet[(random >> 16U) % alphabet.size()];
    }
    Settings settings;
    std::vector<std::string> origins(settings_table().size());
    load_file(file(content), settings_table(), settings, origins);
  }
}

TEST_F(CommandLine, AnotherAddressThanLoopbackIsRefusedWithTheWayOut) {
  const auto text = error({"serve", "--listen", "0.0.0.0:80"});
  EXPECT_TRUE(text.starts_with("listen (flag --listen): '0.0.0.0:80' is not a loopback address")) << text;
  EXPECT_NE(text.find("--insecure-open"), std::string::npos);
  EXPECT_TRUE(settings({"serve", "--listen", "0.0.0.0:80", "--insecure-open"}).insecure_open);
  EXPECT_TRUE(error({"serve", "-c", file("\nlisten = [\"[::]:80\"]")}).starts_with("listen (file " + path_ + ":2)"));
}

TEST_F(CommandLine, CheckConfigSaysWhetherItIsGood) {
  EXPECT_EQ(output({"check-config", "-c", file("shards = 1")}), "The configuration is good.\n");
  EXPECT_EQ(error({"check-config", "-c", file("shards = x")}), path_ + ":1: shards: 'x' is not a whole number");
}

TEST_F(CommandLine, TheExampleConfigIsGoodAndHoldsTheDefaults) {
  const std::string path = std::string(HUBBUB_SOURCE_DIR) + "/config/hubbub.toml";
  EXPECT_EQ(settings({"serve", "--config", path}), Settings{});
  std::ifstream stream(path);
  std::string content;
  for (std::string line; std::getline(stream, line);) {
    const auto key = line.starts_with("# ") ? line.substr(2, line.find(' ', 2) - 2) : "";
    if (find_setting(key) && line.substr(2 + key.size(), 3) == " = ") content += line.substr(2) + "\n";
  }
  EXPECT_EQ(
      std::count(content.begin(), content.end(), '\n'),
      std::count_if(settings_table().begin(), settings_table().end(), [](const auto& row) { return !row.hidden; }));
  EXPECT_EQ(settings({"serve", "--config", file(content)}), Settings{});
}

TEST_F(CommandLine, PrintConfigTellsEachValueAndItsOrigin) {
  const auto text = output({"print-config", "-c", file("\nheartbeat = 20"), "--shards", "2", "--no-compression"},
                           {{"HUBBUB_LOG_LEVEL", "warn"}});
  const auto line = [&](std::string_view key) {
    const auto at = text.find(std::string(key) + " = ");
    if (at == std::string::npos) return std::string();
    auto found = text.substr(at, text.find('\n', at) - at);
    const auto hash = found.rfind(" # ");
    return found.substr(0, found.find_last_not_of(' ', hash) + 1) + found.substr(hash);
  };
  EXPECT_EQ(line("heartbeat"), "heartbeat = \"20s\" # file " + path_ + ":2");
  EXPECT_EQ(line("shards"), "shards = 2 # flag --shards");
  EXPECT_EQ(line("compression"), "compression = false # flag --no-compression");
  EXPECT_EQ(line("log_level"), "log_level = \"warn\" # environment HUBBUB_LOG_LEVEL");
  EXPECT_EQ(line("listen"), "listen = [\"127.0.0.1:8080\"] # default");
  EXPECT_EQ(line("test_echo"), "");
}

TEST_F(CommandLine, WhatPrintConfigPrintsIsAConfigurationFileOfTheSameSettings) {
  const std::vector<std::string> flags{"--listen",
                                       "127.0.0.1:1",
                                       "--listen",
                                       "[::1]:2",
                                       "--log-file",
                                       "a \"b\" \\ #c",
                                       "--shards",
                                       "2",
                                       "--test-echo",
                                       "--typing-ttl",
                                       "1500ms",
                                       "--retain",
                                       "room:a\\ b*,? count=1 age=2d",
                                       "--retain",
                                       "inbox:* age=36h"};
  auto serve = flags, print = flags;
  serve.insert(serve.begin(), "serve");
  print.insert(print.begin(), "print-config");
  EXPECT_EQ(settings({"serve", "-c", file(output(print))}), settings(serve));
}

TEST_F(CommandLine, ATextIsReadBackAsItWasWhateverQuotesAndBackslashesAreInIt) {
  const std::string alphabet = "a'\"\\ #,[]=";
  std::uint32_t random = 1;
  for (int round = 0; round < 500; ++round) {
    std::string value;
    for (int i = 0; i < 1 + round % 6; ++i) {
      random = random * 1'664'525U + 1'013'904'223U;
      value += alphabet[(random >> 16U) % alphabet.size()];
    }
    const std::string printed = output({"print-config"}, {{"HUBBUB_LOG_FILE", value}});
    EXPECT_EQ(settings({"serve", "-c", file(printed)}).log_file, value);
  }
}

TEST_F(CommandLine, AHealthCheckAsksWhereTheNodeListens) {
  EXPECT_EQ(health({}), (HealthTarget{"127.0.0.1", 8080, "/healthz"}));
  EXPECT_EQ(health({"--listen", "127.0.0.2:9000", "--listen", "[::1]:9001"}),
            (HealthTarget{"127.0.0.2", 9000, "/healthz"}));
  // Without insecure_open: the flags of the node that runs are not known here.
  EXPECT_EQ(health({}, {{"HUBBUB_LISTEN", "0.0.0.0:80"}}), (HealthTarget{"127.0.0.1", 80, "/healthz"}));
  EXPECT_EQ(health({}, {{"HUBBUB_LISTEN", "[::]:80"}}), (HealthTarget{"::1", 80, "/healthz"}));
  EXPECT_EQ(error({"healthcheck", "--listen", "127.0.0.1:0"}),
            "listen '127.0.0.1:0' has no port to ask at: give the URL");
}

TEST_F(CommandLine, AHealthCheckTakesAUrlWithANumericHost) {
  EXPECT_EQ(health({"http://127.0.0.1:81"}), (HealthTarget{"127.0.0.1", 81, "/healthz"}));
  EXPECT_EQ(health({"http://localhost:81/readyz"}), (HealthTarget{"127.0.0.1", 81, "/readyz"}));
  EXPECT_EQ(health({"http://[::1]:81/x?y=z"}), (HealthTarget{"::1", 81, "/x?y=z"}));
  for (const std::string url : {"127.0.0.1:81", "https://127.0.0.1:81/", "http://127.0.0.1/", "http://127.0.0.1:0/",
                                "http://node1:81/", "http://127.0.0.1:81/a b", "http://127.0.0.1:81/a\r\nX: y"}) {
    EXPECT_NE(error({"healthcheck", url}).find("is not http://HOST:PORT/PATH"), std::string::npos) << url;
  }
  EXPECT_EQ(error({"healthcheck", "http://127.0.0.1:81/", "more"}), "unexpected argument 'more'");
}

TEST_F(CommandLine, PrintConfigMasksSecrets) {
  const std::vector<SettingRow> table{
      {.group = "", .key = "key", .type = SettingType::kText, .member = &Settings::log_file, .secret = true}};
  Settings settings;
  settings.log_file = "hunter2";
  const auto text = effective_config(table, settings, std::vector<std::string>{"default"});
  EXPECT_TRUE(text.starts_with("key = \"***\"")) << text;
  EXPECT_EQ(text.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace hubbub::app
