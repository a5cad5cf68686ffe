#include "process_stats.hpp"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <string>

namespace hubbub::bench {

std::optional<double> cpu_seconds(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return std::nullopt;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::optional<std::int64_t> resident_bytes(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::ifstream rollup(folder + "/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    if (word != "Rss:") continue;
    std::int64_t kib = 0;
    if (rollup >> kib) return kib * 1024;
  }
  std::ifstream statm(folder + "/statm");
  std::int64_t pages = 0;
  if (statm >> pages >> pages) return pages * sysconf(_SC_PAGESIZE);
  return std::nullopt;
}

}  // namespace hubbub::bench
