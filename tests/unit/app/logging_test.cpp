#include "hubbub/app/logging.hpp"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "hubbub/base/log.hpp"

namespace hubbub::app {
namespace {

// The line with each digit of its first `count` characters as 9.
std::string shape(std::string line, std::size_t count = std::string::npos) {
  for (std::size_t i = 0; i < std::min(count, line.size()); ++i) {
    if (line[i] >= '0' && line[i] <= '9') line[i] = '9';
  }
  return line;
}

constexpr std::size_t kTimeLength = 24;

class Logging : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "hubbub-log-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    settings_.log_file = path("hubbub.log");
  }

  void TearDown() override {
    EXPECT_FALSE(set_up_logging({}));
    base::set_thread_shard(-1);
    std::filesystem::remove_all(folder_);
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::vector<std::string> lines(const std::string& name = "hubbub.log") const {
    std::ifstream stream(path(name));
    std::vector<std::string> result;
    for (std::string line; std::getline(stream, line);) result.push_back(line);
    return result;
  }

  std::filesystem::path folder_;
  Settings settings_;
};

TEST_F(Logging, TextLinesHaveTimeLevelShardAndMessage) {
  ASSERT_FALSE(set_up_logging(settings_));
  spdlog::info("hello {}", 1);
  base::set_thread_shard(2);
  spdlog::warn("hello {}", 2);
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(shape(found[0], kTimeLength), "9999-99-99T99:99:99.999Z info  hello 1");
  EXPECT_EQ(shape(found[1], kTimeLength), "9999-99-99T99:99:99.999Z warn  [shard 2] hello 2");
}

TEST_F(Logging, AMessageStaysOnItsLineWhateverAClientPutIntoIt) {
  ASSERT_FALSE(set_up_logging(settings_));
  spdlog::info("user {} left", "a\n2026-01-01 error fake\x1b[31m");
  const auto found = lines();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].ends_with(R"(user a\x0a2026-01-01 error fake\x1b[31m left)")) << found[0];
}

TEST_F(Logging, C1ControlsAndBareBytesAreEscapedAndCharactersStay) {
  ASSERT_FALSE(set_up_logging(settings_));
  spdlog::info("{}", "\xC2\x9B[31m \x9B[31m \xC2\x80\xC2\x9F \xFF \xC3");
  spdlog::info("{}", "\xC2\xA0 \xC3\x80 \xE2\x82\x9B \xF0\x9F\x98\x80");
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_TRUE(found[0].ends_with(R"( \xc2\x9b[31m \x9b[31m \xc2\x80\xc2\x9f \xff \xc3)")) << found[0];
  EXPECT_TRUE(found[1].ends_with(" \xC2\xA0 \xC3\x80 \xE2\x82\x9B \xF0\x9F\x98\x80")) << found[1];
}

TEST_F(Logging, JsonLinesAreWholeObjectsWhateverIsLogged) {
  settings_.log_format = "json";
  ASSERT_FALSE(set_up_logging(settings_));
  base::set_thread_shard(3);
  spdlog::error("quote \" backslash \\ break \n esc \x1b umlaut \xC3\xBC bad \xFF end");
  spdlog::default_logger()->clone("other")->critical("x");
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  const auto line = nlohmann::json::parse(found[0]);
  EXPECT_EQ(line.at("msg"), "quote \" backslash \\ break \n esc \x1b umlaut \xC3\xBC bad \xEF\xBF\xBD end");
  EXPECT_EQ(line.at("level"), "error");
  EXPECT_EQ(line.at("shard"), 3);
  EXPECT_FALSE(line.contains("logger"));
  EXPECT_EQ(shape(line.at("ts")), "9999-99-99T99:99:99.999Z");
  EXPECT_EQ(nlohmann::json::parse(found[1]).at("logger"), "other");
  EXPECT_EQ(nlohmann::json::parse(found[1]).at("level"), "error");
}

TEST_F(Logging, TheLevelSaysWhatIsWritten) {
  for (const auto& [level, wanted] : std::vector<std::pair<std::string, std::size_t>>{
           {"trace", 5}, {"debug", 4}, {"info", 3}, {"warn", 2}, {"error", 1}, {"off", 0}}) {
    settings_.log_level = level;
    settings_.log_file = path(level);
    ASSERT_FALSE(set_up_logging(settings_));
    spdlog::trace("x");
    spdlog::debug("x");
    spdlog::info("x");
    spdlog::warn("x");
    spdlog::error("x");
    EXPECT_EQ(lines(level).size(), wanted) << level;
  }
}

TEST_F(Logging, AppendsToWhatIsThere) {
  std::ofstream(settings_.log_file) << "before\n";
  ASSERT_FALSE(set_up_logging(settings_));
  spdlog::info("x");
  EXPECT_EQ(lines().size(), 2U);
}

TEST_F(Logging, AfterRotationLinesGoToTheNewFile) {
  ASSERT_FALSE(set_up_logging(settings_));
  spdlog::info("first");
  std::filesystem::rename(settings_.log_file, path("hubbub.log.1"));
  spdlog::info("second");
  reopen_log();
  spdlog::info("third");
  ASSERT_EQ(lines("hubbub.log.1").size(), 2U);
  ASSERT_EQ(lines().size(), 2U);
  EXPECT_NE(lines()[0].find("reopened"), std::string::npos);
  EXPECT_NE(lines()[1].find("third"), std::string::npos);
}

TEST_F(Logging, WhenTheFileCannotBeReopenedTheOldOneStays) {
  std::filesystem::create_directory(path("logs"));
  settings_.log_file = path("logs/hubbub.log");
  ASSERT_FALSE(set_up_logging(settings_));
  std::filesystem::rename(path("logs"), path("moved"));
  reopen_log();
  spdlog::info("still here");
  const auto found = lines("moved/hubbub.log");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NE(found[0].find("cannot reopen log file"), std::string::npos);
  EXPECT_NE(found[1].find("still here"), std::string::npos);
}

TEST_F(Logging, NoLineIsLostOrTornWhenThreadsLogDuringRotation) {
  constexpr int kThreads = 4, kLines = 500, kRotations = 20;
  ASSERT_FALSE(set_up_logging(settings_));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < kLines; ++i) spdlog::info("thread {} line {} end", t, i);
    });
  }
  for (int r = 0; r < kRotations; ++r) {
    std::filesystem::rename(settings_.log_file, path("old." + std::to_string(r)));
    reopen_log();
  }
  for (auto& thread : threads) thread.join();
  std::size_t whole = 0;
  const std::string wanted = "9999-99-99T99:99:99.999Z info  thread 9 line ";
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    for (const auto& line : lines(entry.path().filename().string()))
      whole += shape(line).starts_with(wanted) && line.ends_with(" end") ? 1 : 0;
  }
  EXPECT_EQ(whole, static_cast<std::size_t>(kThreads * kLines));
}

TEST_F(Logging, AFileThatCannotBeOpenedIsAProblemAndNothingChanges) {
  ASSERT_FALSE(set_up_logging(settings_));
  Settings bad;
  bad.log_file = path("none/hubbub.log");
  EXPECT_EQ(set_up_logging(bad), "cannot open log file '" + bad.log_file + "': No such file or directory");
  bad.log_file = folder_.string();
  EXPECT_TRUE(set_up_logging(bad));
  bad.log_file = path("pipe");
  ASSERT_EQ(mkfifo(bad.log_file.c_str(), 0600), 0);
  EXPECT_TRUE(set_up_logging(bad)) << "a pipe without a reader must not hang the start";
  spdlog::info("x");
  EXPECT_EQ(lines().size(), 1U);
}

TEST_F(Logging, ReopeningWithoutAFileDoesNothing) {
  ASSERT_FALSE(set_up_logging({}));
  reopen_log();
}

}  // namespace
}  // namespace hubbub::app
