#include "hubbub/broker/retention.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hubbub::broker {
namespace {

RetentionRule rule(std::string_view text) {
  auto parsed = parse_retention_rule(text);
  if (const auto* problem = std::get_if<std::string>(&parsed)) {
    ADD_FAILURE() << text << " " << *problem;
    return {};
  }
  return std::get<RetentionRule>(std::move(parsed));
}

std::string problem(std::string_view text) {
  const auto parsed = parse_retention_rule(text);
  const auto* found = std::get_if<std::string>(&parsed);
  return found != nullptr ? *found : "none";
}

StreamKey room(std::string_view id) { return {StreamKind::kRoom, base::SharedString(id)}; }
StreamKey inbox(std::string_view id) { return {StreamKind::kInbox, base::SharedString(id)}; }

// ---- one rule

TEST(RetentionRule, HasAKindAPatternAndLimitsInAnyOrder) {
  EXPECT_EQ(rule("room:news-* count=10 age=1h bytes=64KiB"),
            (RetentionRule{StreamKind::kRoom, "news-*", 10, 3'600'000, 65'536}));
  EXPECT_EQ(rule("inbox:* age=7d count=1_000"),
            (RetentionRule{StreamKind::kInbox, "*", 1000, 7 * 86'400'000LL, std::nullopt}));
  EXPECT_EQ(rule("  room:r   bytes=0  "), (RetentionRule{StreamKind::kRoom, "r", std::nullopt, std::nullopt, 0}));
  EXPECT_EQ(rule("room:room:x count=0").pattern, "room:x");
  EXPECT_EQ(rule("room:count=5 count=5").pattern, "count=5");
}

TEST(RetentionRule, ABlankInThePatternIsEscaped) {
  EXPECT_EQ(rule(R"(room:tea\ room count=1)").pattern, R"(tea\ room)");
  EXPECT_EQ(rule(R"(room:\  count=1)").pattern, R"(\ )");
  EXPECT_EQ(rule(R"(room:a\\ count=1)").pattern, R"(a\\)");
}

TEST(RetentionRule, TakesTheEndsOfEachRange) {
  EXPECT_EQ(rule("room:* count=10000000").count, kRetainCountMax);
  EXPECT_EQ(rule("room:* age=10ms").age_ms, 10);
  EXPECT_EQ(rule("room:* age=3650d").age_ms, static_cast<std::int64_t>(kRetainAgeMaxMs));
  EXPECT_EQ(rule("room:* bytes=64GiB").bytes, kRetainBytesMax);
  EXPECT_EQ(rule("room:" + std::string(512, 'x') + " count=1").pattern.size(), 512U);
}

TEST(RetentionRule, SaysWhatIsWrong) {
  EXPECT_EQ(problem(""), "starts neither with 'room:' nor with 'inbox:'");
  EXPECT_EQ(problem("news-* count=1"), "starts neither with 'room:' nor with 'inbox:'");
  EXPECT_EQ(problem("Room:* count=1"), "starts neither with 'room:' nor with 'inbox:'");
  EXPECT_EQ(problem("room:"), "has no pattern after the ':'; '*' fits all");
  EXPECT_EQ(problem("room: count=1"), "has no pattern after the ':'; '*' fits all");
  EXPECT_EQ(problem("room:*"), "needs count=, age= or bytes= after the pattern");
  EXPECT_EQ(problem(R"(room:a\ count=1)"), "needs count=, age= or bytes= after the pattern");
  EXPECT_EQ(problem(R"(room:a\)"), "has a pattern that ends in a '\\' with nothing behind it");
  EXPECT_EQ(problem("room:" + std::string(513, 'x') + " count=1"), "has a pattern of more than 512 bytes");
  const std::string unknown = ", which is not count=, age= or bytes= (a blank in a pattern is written '\\ ')";
  EXPECT_EQ(problem("room:tea room count=1"), "has 'room'" + unknown);
  EXPECT_EQ(problem("room:* size=1"), "has 'size=1'" + unknown);
  EXPECT_EQ(problem("room:* count = 1"), "has 'count'" + unknown);
  EXPECT_EQ(problem("room:* " + std::string(99, 'x')), "has '" + std::string(40, 'x') + "...'" + unknown);
  EXPECT_EQ(problem("room:* count=1 age=1h count=1"), "says count= twice");
  EXPECT_EQ(problem("room:* age=1h age=2h"), "says age= twice");
  EXPECT_EQ(problem("room:* bytes=1 bytes=1"), "says bytes= twice");
  for (const auto* bad : {"", "-1", "1.5", "many", "10000001", "99999999999999999999"}) {
    EXPECT_EQ(problem(std::string("room:* count=") + bad),
              std::string("has the count '") + bad + "', not a whole number (0 to 10000000)");
  }
  for (const auto* bad : {"", "0", "9ms", "1w", "3651d", "1h30m"}) {
    EXPECT_EQ(problem(std::string("room:* age=") + bad),
              std::string("has the age '") + bad + "', not a duration such as 30s, 5m, 24h or 7d (10ms to 3650d)");
  }
  for (const auto* bad : {"", "1KB", "65GiB", "-1"}) {
    EXPECT_EQ(problem(std::string("room:* bytes=") + bad),
              std::string("has the bytes '") + bad + "', not a size such as 64KiB or 1MiB (0 to 64GiB)");
  }
}

TEST(RetentionRule, AnyTextIsARuleOrHasAProblem) {
  const std::vector<std::string_view> pieces{"room:", "inbox:", "*", "\\", " ", " count=1", " age=1h", " bytes=", "9"};
  std::mt19937 random(1);
  int rules = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string text = round % 2 == 0 ? "room:" : "";
    for (int i = 0; i < 7; ++i)
      text += pieces[std::uniform_int_distribution<std::size_t>(0, pieces.size() - 1)(random)];
    const auto parsed = parse_retention_rule(text);
    if (const auto* found = std::get_if<RetentionRule>(&parsed)) {
      ++rules;
      EXPECT_FALSE(found->pattern.empty());
      EXPECT_TRUE(found->count || found->age_ms || found->bytes) << text;
    } else {
      EXPECT_FALSE(std::get<std::string>(parsed).empty()) << text;
    }
  }
  EXPECT_GT(rules, 100);
}

// ---- all of them

TEST(RetentionRules, WithoutRulesAllStreamsHaveTheDefault) {
  const RetentionLimits limits{5, 1000, 10'000};
  const RetentionRules rules(limits);
  EXPECT_EQ(rules.size(), 1U);
  EXPECT_EQ(rules.index_for(room("r")), 0U);
  EXPECT_EQ(rules.limits_for(room("r")), limits);
  EXPECT_EQ(rules.limits_for(inbox("u")), limits);
}

TEST(RetentionRules, TheFirstThatFitsWins) {
  const RetentionRules rules({1, 1, 1}, {rule("room:news-old count=2"), rule("room:news-* count=3"),
                                         rule("room:news-new count=4"), rule("room:*-? count=5")});
  EXPECT_EQ(rules.limits_for(room("news-old")).count, 2U);
  EXPECT_EQ(rules.limits_for(room("news-new")).count, 3U);
  EXPECT_EQ(rules.limits_for(room("news-")).count, 3U);
  EXPECT_EQ(rules.limits_for(room("talk-\xc3\xbc")).count, 5U);
  EXPECT_EQ(rules.limits_for(room("talk-12")).count, 1U);
  EXPECT_EQ(rules.index_for(room("talk-12")), rules.size() - 1);
}

TEST(RetentionRules, WhatARuleLeavesOutIsAsWithoutIt) {
  const RetentionRules rules({1, 2000, 3000}, {rule("room:a count=10"), rule("room:b age=20s"), rule("room:c bytes=30"),
                                               rule("room:d count=0 bytes=0")});
  EXPECT_EQ(rules.limits_for(room("a")), (RetentionLimits{10, 2000, 3000}));
  EXPECT_EQ(rules.limits_for(room("b")), (RetentionLimits{1, 20'000, 3000}));
  EXPECT_EQ(rules.limits_for(room("c")), (RetentionLimits{1, 2000, 30}));
  EXPECT_EQ(rules.limits_for(room("d")), (RetentionLimits{0, 2000, 0}));
  EXPECT_EQ(rules.limits_for(room("e")), (RetentionLimits{1, 2000, 3000}));
}

TEST(RetentionRules, RoomsAndInboxesHaveRulesOfTheirOwn) {
  const RetentionRules rules({1, 1, 1}, {rule("inbox:* count=2"), rule("room:x count=3")});
  EXPECT_EQ(rules.limits_for(inbox("x")).count, 2U);
  EXPECT_EQ(rules.limits_for(room("x")).count, 3U);
  EXPECT_EQ(rules.limits_for(room("y")).count, 1U);
}

TEST(RetentionRules, EscapedSignsAreThoseOfTheId) {
  const RetentionRules rules({1, 1, 1}, {rule(R"(room:tea\ room count=2)"), rule(R"(room:\* count=3)")});
  EXPECT_EQ(rules.limits_for(room("tea room")).count, 2U);
  EXPECT_EQ(rules.limits_for(room("*")).count, 3U);
  EXPECT_EQ(rules.limits_for(room("x")).count, 1U);
}

}  // namespace
}  // namespace hubbub::broker
