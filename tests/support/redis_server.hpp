#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hubbub/broker/redis/options.hpp"
#include "hubbub/broker/redis/reply.hpp"

namespace hubbub::test {

/// A redis-server of the test's own, on a port of 127.0.0.1 that was free, with a folder of its own and nothing saved.
/// It dies with this object, and with the test's process. A failed start throws std::runtime_error with its log.
class RedisServer {
 public:
  struct Options {
    std::vector<std::string> args;  ///< more arguments, as on redis-server's command line
    bool tls = false;               ///< the port is one for TLS; `args` name the certificates
    bool sentinel = false;
    bool cluster = false;
    std::string config = {};  ///< lines of a file that is read before the arguments (Sentinel needs one)
  };

  RedisServer() : RedisServer(Options{}) {}
  explicit RedisServer(Options options);
  explicit RedisServer(std::vector<std::string> args) : RedisServer(Options{.args = std::move(args)}) {}
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::uint16_t bus_port() const { return bus_port_; }
  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_; }
  bool is_running() const { return pid_ > 0; }
  broker::redis::Endpoint endpoint() const { return {"127.0.0.1", port_}; }

  void stop();   ///< SIGTERM
  void kill9();  ///< SIGKILL
  /// Again on the same port and in the same folder; ends it first if it runs.
  void restart();
  void freeze();  ///< SIGSTOP, and waits until it stands
  void thaw();    ///< SIGCONT

  /// One command on a connection of its own, without TLS; throws when there is no answer within five seconds.
  broker::redis::Reply call(const std::vector<std::string>& command) const;

 private:
  bool try_start();
  void end(int signal);
  std::string log_tail() const;

  const Options options_;
  std::string folder_;
  std::uint16_t port_ = 0;
  std::uint16_t bus_port_ = 0;  // of a Cluster
  pid_t pid_ = 0;
};

/// A port of 127.0.0.1 that nobody listens on, outside the range from which the kernel takes ports for connections, so
/// that it is free for a restart too.
std::uint16_t free_port();

/// How many times longer than usual things may take here (HUBBUB_TEST_SLOWNESS).
int slowness();

/// Looks every few milliseconds until it holds; false when it does not within the limit times slowness().
bool wait_until(const std::function<bool()>& holds, std::chrono::milliseconds limit = std::chrono::seconds(10));

}  // namespace hubbub::test
