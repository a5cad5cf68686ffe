#pragma once

#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "hubbub/app/health_check.hpp"
#include "hubbub/app/settings.hpp"
#include "hubbub/app/settings_table.hpp"

namespace hubbub::app {

using Environment = std::map<std::string, std::string>;

/// Start the server.
struct Run {
  Settings settings;
  std::vector<std::string> warnings;  ///< for the log, once there is one
};

/// Ask a running node how it is.
struct HealthCheck {
  HealthTarget target;
};

/// Print and leave: text to standard output if the code is 0, else to standard error; the warnings always to the
/// latter.
struct Exit {
  int code = 0;
  std::string text;
  std::vector<std::string> warnings = {};
};

/// Everything that the command line, the environment and the configuration file ask for. Reads the file; does nothing
/// else.
std::variant<Run, HealthCheck, Exit> parse(int argc, const char* const* argv, const Environment& environment);

/// The settings of a configuration file laid over `settings`; `origins` (one a row) get `file FILE:LINE`.
Problem load_file(const std::string& path, std::span<const SettingRow> table, Settings& settings,
                  std::vector<std::string>& origins);

/// What print-config prints: TOML that gives the same settings, each with its origin, secrets masked.
std::string effective_config(std::span<const SettingRow> table, const Settings& settings,
                             std::span<const std::string> origins);

}  // namespace hubbub::app
