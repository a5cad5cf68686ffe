#pragma once

#include "hubbub/app/settings.hpp"
#include "hubbub/app/settings_table.hpp"

namespace hubbub::app {

/// Makes spdlog's default logger write what the settings ask for: text or JSON lines, to log_file or standard error.
/// Nothing changes when there is a problem, such as a file that cannot be opened. Before other threads log.
Problem set_up_logging(const Settings& settings);

/// Opens log_file anew, for SIGHUP after it was rotated away. No line is lost or torn: those before go to the old file,
/// those after to the new one. If that fails, the old file stays in use and the problem is logged. No-op without
/// log_file. [any thread], but not from a signal handler.
void reopen_log();

}  // namespace hubbub::app
