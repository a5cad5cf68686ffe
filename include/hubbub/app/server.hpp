#pragma once

#include "hubbub/app/settings.hpp"

namespace hubbub::app {

/// Builds the server from its settings, runs it until SIGTERM or SIGINT, and returns the process's exit code. The
/// settings must be valid (settings_table.hpp).
int run_server(const Settings& settings);

}  // namespace hubbub::app
