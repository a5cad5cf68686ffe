#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/client.hpp"
#include "hubbub/broker/redis/errors.hpp"

namespace hubbub::test {

/// A redis::Client with its io_context, run by the test's thread, and a record of what it was told.
class RedisClient final : broker::redis::ClientSink {
 public:
  using Command = broker::redis::Command;

  explicit RedisClient(broker::redis::ClientOptions options, std::vector<const broker::redis::Script*> scripts = {});
  ~RedisClient();

  broker::redis::Client& client() { return *client_; }
  void destroy() { client_.reset(); }

  /// Runs handlers until it holds; false when it does not within the limit times slowness().
  bool run_until(const std::function<bool()>& holds, std::chrono::milliseconds limit = std::chrono::seconds(10));
  void run_for(std::chrono::milliseconds time);

  struct Answer {
    bool done = false;
    broker::redis::Reply reply;
    base::error_code error;
    std::int64_t after_ms = 0;
  };
  using AnswerPtr = std::shared_ptr<Answer>;
  AnswerPtr send(std::string_view route, const std::vector<std::string>& words);
  AnswerPtr send(std::string_view route, Command command);
  /// Sends, and waits for the answer.
  Answer call(std::string_view route, const std::vector<std::string>& words);
  AnswerPtr subscribe(std::string_view channel);

  std::vector<std::pair<std::string, std::string>> messages;
  std::map<std::string, int> resubscribed;
  std::function<void()> on_any_message;

 private:
  void on_message(std::string_view channel, std::string_view payload) override;
  void on_resubscribed(std::string_view channel) override { ++resubscribed[std::string(channel)]; }

  boost::asio::io_context io_{1};
  std::unique_ptr<broker::redis::Client> client_;
};

/// Names of keys that live with the route.
inline std::string key_of(std::string_view route, std::string_view suffix) {
  return broker::redis::Client::key(route, suffix);
}

}  // namespace hubbub::test
