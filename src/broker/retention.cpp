#include "hubbub/broker/retention.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "hubbub/base/glob.hpp"
#include "hubbub/base/units.hpp"

namespace hubbub::broker {
namespace {

constexpr std::size_t kPatternMaxBytes = 512;  // an id has up to 256, and each may need a backslash

std::string quoted(std::string_view text) {
  constexpr std::size_t kMaxShown = 40;
  return "'" + std::string(text.substr(0, kMaxShown)) + (text.size() > kMaxShown ? "...'" : "'");
}

void skip_blanks(std::string_view& text) { text.remove_prefix(std::min(text.find_first_not_of(' '), text.size())); }

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The pattern goes up to a blank without a backslash before it.
std::string_view take_pattern(std::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && text[end] != ' ') end += text[end] == '\\' ? 2 : 1;
  const std::string_view pattern = text.substr(0, end);
  text.remove_prefix(pattern.size());
  return pattern;
}

bool ends_in_open_escape(std::string_view pattern) {
  const std::size_t other = pattern.find_last_not_of('\\');
  return (pattern.size() - (other == std::string_view::npos ? 0 : other + 1)) % 2 == 1;
}

std::string range(const std::string& low, const std::string& high) { return " (" + low + " to " + high + ")"; }

// One `name=value` into the rule; what is wrong, or nothing.
std::string set_limit(RetentionRule& rule, std::string_view word) {
  const auto is_repeated = [](bool known, std::string_view name) {
    return known ? "says " + std::string(name) + " twice" : std::string();
  };
  std::string_view value = word;
  if (take_prefix(value, "count=")) {
    const auto count = base::parse_count(value);
    if (!count || *count > kRetainCountMax) {
      return "has the count " + quoted(value) + ", not a whole number" + range("0", std::to_string(kRetainCountMax));
    }
    return is_repeated(std::exchange(rule.count, static_cast<std::size_t>(*count)).has_value(), "count=");
  }
  if (take_prefix(value, "age=")) {
    const auto age = base::parse_duration(value);
    const auto age_ms = age ? static_cast<std::uint64_t>(age->count()) : 0;
    if (age_ms < kRetainAgeMinMs || age_ms > kRetainAgeMaxMs) {
      return "has the age " + quoted(value) + ", not a duration such as 30s, 5m, 24h or 7d" +
             range(base::format_duration(std::chrono::milliseconds(kRetainAgeMinMs)),
                   base::format_duration(std::chrono::milliseconds(kRetainAgeMaxMs)));
    }
    return is_repeated(std::exchange(rule.age_ms, age->count()).has_value(), "age=");
  }
  if (take_prefix(value, "bytes=")) {
    const auto bytes = base::parse_size(value);
    if (!bytes || *bytes > kRetainBytesMax) {
      return "has the bytes " + quoted(value) + ", not a size such as 64KiB or 1MiB" +
             range("0", base::format_size(kRetainBytesMax));
    }
    return is_repeated(std::exchange(rule.bytes, static_cast<std::size_t>(*bytes)).has_value(), "bytes=");
  }
  return "has " + quoted(word) + ", which is not count=, age= or bytes= (a blank in a pattern is written '\\ ')";
}

}  // namespace

std::variant<RetentionRule, std::string> parse_retention_rule(std::string_view text) {
  RetentionRule rule;
  skip_blanks(text);
  if (take_prefix(text, "inbox:")) {
    rule.kind = StreamKind::kInbox;
  } else if (!take_prefix(text, "room:")) {
    return "starts neither with 'room:' nor with 'inbox:'";
  }
  rule.pattern = take_pattern(text);
  if (rule.pattern.empty()) return "has no pattern after the ':'; '*' fits all";
  if (rule.pattern.size() > kPatternMaxBytes) {
    return "has a pattern of more than " + std::to_string(kPatternMaxBytes) + " bytes";
  }
  if (ends_in_open_escape(rule.pattern)) return "has a pattern that ends in a '\\' with nothing behind it";

  skip_blanks(text);
  if (text.empty()) return "needs count=, age= or bytes= after the pattern";
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (std::string problem = set_limit(rule, word); !problem.empty()) return problem;
    text.remove_prefix(word.size());
    skip_blanks(text);
  }
  return rule;
}

RetentionRules::RetentionRules(const RetentionLimits& without_rule, std::vector<RetentionRule> rules)
    : rules_(std::move(rules)) {
  limits_.reserve(rules_.size() + 1);
  for (const RetentionRule& rule : rules_) {
    limits_.push_back({.count = rule.count.value_or(without_rule.count),
                       .age_ms = rule.age_ms.value_or(without_rule.age_ms),
                       .bytes = rule.bytes.value_or(without_rule.bytes)});
  }
  limits_.push_back(without_rule);
}

std::size_t RetentionRules::index_for(const StreamKey& key) const noexcept {
  std::size_t index = 0;
  while (index < rules_.size() &&
         (rules_[index].kind != key.kind || !base::glob_matches(rules_[index].pattern, key.id.view()))) {
    ++index;
  }
  return index;
}

}  // namespace hubbub::broker
