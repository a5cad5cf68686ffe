#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hubbub/broker/broker.hpp"

namespace hubbub::broker {

/// How much a stream keeps; whichever bound is met first counts.
struct RetentionLimits {
  std::size_t count = 1000;  ///< events; 0 keeps none
  std::int64_t age_ms = 24 * 3'600'000LL;
  std::size_t bytes = 1024 * 1024;  ///< overhead counted; an event larger than that is not kept
  friend bool operator==(const RetentionLimits&, const RetentionLimits&) = default;
};

/// The same ranges for a rule and for what holds without one.
inline constexpr std::uint64_t kRetainCountMax = 10'000'000;
inline constexpr std::uint64_t kRetainAgeMinMs = 10;
inline constexpr std::uint64_t kRetainAgeMaxMs = 3'650ULL * 24 * 3'600'000;
inline constexpr std::uint64_t kRetainBytesMax = 64ULL << 30;
/// Each costs a look when a stream is made and when memory is short.
inline constexpr std::size_t kRetentionRulesMax = 64;

/// Limits for the streams of a kind whose id the pattern (base::glob_matches) fits; what is not said is as without it.
struct RetentionRule {
  StreamKind kind = StreamKind::kRoom;
  std::string pattern;
  std::optional<std::size_t> count;
  std::optional<std::int64_t> age_ms;
  std::optional<std::size_t> bytes;
  friend bool operator==(const RetentionRule&, const RetentionRule&) = default;
};

/// `room:news-* count=10 age=1h bytes=64KiB`: `room` or `inbox`, a pattern, then one limit or more in any order. A
/// blank in the pattern stands behind a backslash. Otherwise what is wrong, to be read after the rule: "needs count=,
/// ...".
std::variant<RetentionRule, std::string> parse_retention_rule(std::string_view text);

/// What each stream keeps: the first rule that fits it says so, or the default.
class RetentionRules {
 public:
  explicit RetentionRules(const RetentionLimits& without_rule, std::vector<RetentionRule> rules = {});

  /// The place of the rule that a stream falls under, below size(). The last place is that of the streams without one.
  std::size_t index_for(const StreamKey& key) const noexcept;
  const RetentionLimits& limits(std::size_t index) const noexcept { return limits_[index]; }
  const RetentionLimits& limits_for(const StreamKey& key) const noexcept { return limits(index_for(key)); }
  std::size_t size() const noexcept { return limits_.size(); }

 private:
  std::vector<RetentionRule> rules_;
  std::vector<RetentionLimits> limits_;  // of each rule, and last the default
};

}  // namespace hubbub::broker
