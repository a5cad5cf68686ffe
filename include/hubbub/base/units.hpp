#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hubbub::base {

/// Digits only, with single `_` between digits allowed as in TOML. No sign, no space, no overflow.
std::optional<std::uint64_t> parse_count(std::string_view text);

/// `500ms`, `30s`, `5m`, `24h`, `7d`, or plain seconds. Whole numbers only; nothing that 64-bit milliseconds cannot
/// hold.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// `64KiB`, `1MiB`, `2GiB`, `512B`, or plain bytes. `KB` and `k` are refused: people do not agree on what they mean.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// The shortest text that parses back to exactly the same value.
std::string format_duration(std::chrono::milliseconds value);
std::string format_size(std::uint64_t bytes);

}  // namespace hubbub::base
