#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <variant>

#include "hubbub/app/command_line.hpp"
#include "hubbub/app/health_check.hpp"
#include "hubbub/app/logging.hpp"
#include "hubbub/app/server.hpp"

namespace {

void print(std::FILE* to, std::string_view text) { std::fwrite(text.data(), 1, text.size(), to); }

hubbub::app::Environment environment() {
  hubbub::app::Environment result;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != text.npos) result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

int leave(const hubbub::app::Exit& exit) {
  for (const auto& warning : exit.warnings) print(stderr, "hubbub: warning: " + warning + "\n");
  print(exit.code == 0 ? stdout : stderr, exit.text);
  return exit.code;
}

int start(const hubbub::app::Run& run) {
  if (const auto problem = hubbub::app::set_up_logging(run.settings)) {
    print(stderr, "hubbub: " + *problem + "\n");
    return 1;
  }
  for (const auto& warning : run.warnings) spdlog::warn("{}", warning);
  return hubbub::app::run_server(run.settings);
}

int ask(const hubbub::app::HealthTarget& target) {
  const auto problem = hubbub::app::check_health(target, std::chrono::seconds(3));
  if (problem) print(stderr, "hubbub: " + *problem + "\n");
  return problem ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  // A log collector that goes away must not take the server with it.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const auto parsed = hubbub::app::parse(argc, argv, environment());
    if (const auto* exit = std::get_if<hubbub::app::Exit>(&parsed)) return leave(*exit);
    if (const auto* check = std::get_if<hubbub::app::HealthCheck>(&parsed)) return ask(check->target);
    return start(std::get<hubbub::app::Run>(parsed));
  } catch (const std::exception& error) {
    print(stderr, std::string("hubbub: ") + error.what() + "\n");
    return 1;
  }
}
