#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/client.hpp"

namespace boost::asio::ssl {
class context;
}

namespace hubbub::broker::redis {

inline std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Handlers that are posted or wait for a timer may run when their object is gone: guard() makes them do nothing then.
/// All of one thread, so that "gone" cannot happen while one runs, but by itself; watch() tells of that.
class Lifeline {
 public:
  using Watch = std::weak_ptr<char>;
  Watch watch() const { return alive_; }
  template <class F>
  auto guard(F&& f) const {
    return [watch = watch(), f = std::forward<F>(f)](auto&&... arguments) mutable {
      if (!watch.expired()) f(std::forward<decltype(arguments)>(arguments)...);
    };
  }

 private:
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

/// At most one line a second for each kind of trouble.
class LogLimit {
 public:
  bool may_log(std::string_view kind) {
    const auto now = now_ms();
    if (last_.size() > 256) last_.clear();
    const auto [it, fresh] = last_.try_emplace(std::string(kind), now);
    if (!fresh && now - it->second < 1'000) return false;
    it->second = now;
    return true;
  }

 private:
  std::map<std::string, std::int64_t, std::less<>> last_;
};

/// Full jitter: some time between 0 and a bound that doubles from attempt to attempt.
class Backoff {
 public:
  Backoff(std::int64_t min_ms, std::int64_t max_ms) : min_ms_(min_ms), max_ms_(max_ms), bound_ms_(min_ms) {}
  std::int64_t next_ms();
  void reset() { bound_ms_ = min_ms_; }

 private:
  std::int64_t min_ms_, max_ms_, bound_ms_;
};

/// What the parts of a client share.
struct Context {
  boost::asio::io_context& io;
  const ClientOptions options;
  const std::vector<const Script*> scripts;
  std::unique_ptr<boost::asio::ssl::context> tls;  ///< null: none
  Client::Usage usage;
  LogLimit log;

  Context(boost::asio::io_context& io, ClientOptions options, std::vector<const Script*> scripts);
  ~Context();
};

std::string to_text(const Endpoint& endpoint);
/// The first word of an error: its code, such as MOVED.
std::string_view error_code_of(std::string_view error);

}  // namespace hubbub::broker::redis
