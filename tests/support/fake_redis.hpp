#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "hubbub/broker/redis/options.hpp"

namespace hubbub::test {

/// What answers as a test says, for servers that misbehave as no real one does on demand. Its thread reads commands and
/// asks `answer` for the bytes to be sent back; `connection` counts from 0.
class FakeRedis {
 public:
  using Answer = std::function<std::string(int connection, const std::vector<std::string>& command)>;
  explicit FakeRedis(Answer answer);
  ~FakeRedis();
  FakeRedis(const FakeRedis&) = delete;
  FakeRedis& operator=(const FakeRedis&) = delete;

  broker::redis::Endpoint endpoint() const { return {"127.0.0.1", port_}; }
  int connections() const { return connections_.load(); }

 private:
  void run();

  const Answer answer_;
  int listener_;
  int wake_[2];
  std::uint16_t port_ = 0;
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace hubbub::test
