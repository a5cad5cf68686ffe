#include "hubbub/base/units.hpp"

#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace hubbub::base {
namespace {

struct Unit {
  std::string_view suffix;
  std::uint64_t factor;
};

// Ascending factors: format picks the last one that divides without rest. "ms" stands before "s" and "m" so that the
// suffix match is the longest one; likewise "KiB" before "B".
constexpr std::array<Unit, 5> kDurationUnits{
    {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
constexpr std::array<Unit, 4> kSizeUnits{{{"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}, {"B", 1}}};

std::optional<std::uint64_t> parse_with_units(std::string_view text, std::span<const Unit> units,
                                              std::uint64_t plain_factor) {
  std::uint64_t factor = plain_factor;
  for (const Unit& unit : units) {
    if (text.ends_with(unit.suffix)) {
      factor = unit.factor;
      text.remove_suffix(unit.suffix.size());
      break;
    }
  }
  const auto count = parse_count(text);
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!count || *count > kMax / factor) return std::nullopt;
  return *count * factor;
}

}  // namespace

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool between_digits = i > 0 && i + 1 < text.size() && text[i - 1] != '_';
    if (text[i] == '_' && between_digits) continue;
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    digits += text[i];
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto value = parse_with_units(text, kDurationUnits, 1'000);
  if (!value) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(*value));
}

std::optional<std::uint64_t> parse_size(std::string_view text) { return parse_with_units(text, kSizeUnits, 1); }

std::string format_duration(std::chrono::milliseconds value) {
  const auto count = value.count();
  if (count == 0) return "0s";
  const Unit* best = &kDurationUnits[0];
  for (const Unit& unit : kDurationUnits) {
    if (count % static_cast<std::int64_t>(unit.factor) == 0) best = &unit;
  }
  return std::to_string(count / static_cast<std::int64_t>(best->factor)) + std::string(best->suffix);
}

std::string format_size(std::uint64_t bytes) {
  const Unit* best = nullptr;
  for (const Unit& unit : kSizeUnits) {
    if (unit.factor > 1 && bytes > 0 && bytes % unit.factor == 0) best = &unit;
  }
  return best ? std::to_string(bytes / best->factor) + std::string(best->suffix) : std::to_string(bytes);
}

}  // namespace hubbub::base
