#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace hubbub::bench {

// CPU time of all threads of a process, user and system, to the nanosecond (the process's CPU clock).
std::optional<double> cpu_seconds(pid_t pid);

// Resident bytes, from smaps_rollup: statm is kept in per-CPU counters and may be off by hundreds of kilobytes.
std::optional<std::int64_t> resident_bytes(pid_t pid);

}  // namespace hubbub::bench
