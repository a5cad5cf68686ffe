#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "hubbub/app/settings.hpp"
#include "hubbub/app/settings_table.hpp"

namespace hubbub::app {

/// Where a running node is asked how it is. The address is numeric, as in ListenAddress: no name is ever looked up.
struct HealthTarget {
  std::string address;
  std::uint16_t port = 0;
  std::string path;

  friend bool operator==(const HealthTarget&, const HealthTarget&) = default;
};

/// `http://host:port/path`; without a path `/healthz`.
std::variant<HealthTarget, std::string> parse_health_url(std::string_view url);

/// `/healthz` of the node that these settings start: its first `listen`, by loopback when that is every address.
std::variant<HealthTarget, std::string> health_target(const Settings& settings);

/// Asks once, and blocks for `timeout` at most. Nothing when the answer is 200, else what went wrong.
Problem check_health(const HealthTarget& target, std::chrono::milliseconds timeout);

}  // namespace hubbub::app
