#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hubbub/app/settings.hpp"

namespace hubbub::app {

/// What is wrong, in one line; nothing when all is well.
using Problem = std::optional<std::string>;

enum class SettingType : std::uint8_t { kText, kList, kFlag, kCount, kSize, kDuration };

/// One setting. Flag, environment variable, file key, help, docs/configuration.md and config/hubbub.toml all come from
/// this row; the default comes from `Settings{}`.
struct SettingRow {
  using Member = std::variant<std::string Settings::*, std::vector<std::string> Settings::*, bool Settings::*,
                              std::size_t Settings::*, std::chrono::milliseconds Settings::*>;
  std::string_view group;
  std::string_view key;
  SettingType type;
  Member member;
  std::uint64_t min = 0;  ///< numbers only; durations in milliseconds
  std::uint64_t max = 0;
  std::string_view choices = {};  ///< texts only, `a|b|c`; empty: free text
  Problem (*check)(std::string_view value) = nullptr;
  std::string_view text = {};
  bool secret = false;        ///< never shown: print-config, errors and help mask it
  bool may_be_empty = false;  ///< lists only: no value is a value
  bool hidden = false;        ///< works, but is in no help and no document
};

std::span<const SettingRow> settings_table();
const SettingRow* find_setting(std::string_view key);
/// The key that was probably meant; empty when none is near.
std::string_view nearest_key(std::string_view wrong);

std::string flag_name(const SettingRow& row);         ///< `--log-level`
std::string environment_name(const SettingRow& row);  ///< `HUBBUB_LOG_LEVEL`
std::string_view type_name(SettingType type);
std::string range_text(const SettingRow& row);  ///< `0 to 256`, `text or json`; empty when everything is allowed

/// Parses, checks and stores. One value, except for lists. The settings are untouched when there is a problem.
Problem set_setting(const SettingRow& row, std::span<const std::string> values, Settings& settings);
/// The value as TOML (`"30s"`, `[ "a" ]`); a secret that is set is `"***"`.
std::string toml_value(const SettingRow& row, const Settings& settings);

/// What no single row can see: open mode only listens on loopback. Names the key.
struct Conflict {
  std::string_view key;
  std::string text;
};
std::optional<Conflict> find_conflict(const Settings& settings);

/// Masked to one short printable line: what a user typed may be anything.
std::string shown_value(std::string_view value);

struct ListenAddress {
  std::string address;  ///< numeric, IPv6 without brackets; `localhost` has become 127.0.0.1
  std::uint16_t port = 0;
  bool loopback = false;
};
/// `host:port` or `[v6]:port`, with a numeric host or `localhost`: no name is ever looked up. Port 0 takes a free one.
std::optional<ListenAddress> parse_listen_address(std::string_view text);

/// The whole of docs/configuration.md and config/hubbub.toml.
std::string configuration_document();
std::string example_config();

}  // namespace hubbub::app
