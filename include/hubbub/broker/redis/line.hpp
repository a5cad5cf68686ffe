#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hubbub/base/function.hpp"
#include "hubbub/broker/redis/connection.hpp"
#include "hubbub/broker/redis/context.hpp"

namespace hubbub::broker::redis {

/// Says where a line leads to, each time that it is connected anew. [shard]
class EndpointSource {
 public:
  using Found = base::InlineFunction<void(std::optional<Endpoint>)>;
  /// Calls `found` once, perhaps within the call; nullopt when nobody knows.
  virtual void find(Found found) = 0;

 protected:
  ~EndpointSource() = default;
};

class FixedEndpoint final : public EndpointSource {
 public:
  explicit FixedEndpoint(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}
  void find(Found found) override { found(endpoint_); }

 private:
  const Endpoint endpoint_;
};

/// Told of a line; all [shard]. It may destroy the line in any of these, and drop() it.
class LineOwner {
 public:
  virtual void on_up() = 0;
  virtual void on_reply(Reply&& reply) = 0;
  virtual void on_written() = 0;
  /// It was up.
  virtual void on_down() = 0;
  /// An attempt failed; the line goes on trying unless it is stopped.
  virtual void on_attempt_failed() {}

 protected:
  ~LineOwner() = default;
};

/// A connection that is made anew whenever it is lost, with back-off. [shard]
class Line {
 public:
  enum class Kind : std::uint8_t { kCommands, kSubscriptions, kSentinel };

  Line(Context& context, Kind kind, EndpointSource& source, LineOwner& owner);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void start();
  /// Loses the connection, or the attempt, and connects anew; on_down comes within the call when the line was up.
  void drop(std::string_view why);
  /// Connects at once if it waits for its next attempt.
  void hurry();

  bool is_up() const { return up_; }
  /// Since when it has not been up; 0: it is.
  std::int64_t down_since_ms() const { return down_since_ms_; }
  const std::optional<Endpoint>& endpoint() const { return endpoint_; }  ///< where it leads or led to last

  /// While it is up: bytes to be written, and off with them.
  std::string& out() { return connection_->out(); }
  void start_write() { connection_->start_write(); }

 private:
  class Events final : public ConnectionOwner {
   public:
    explicit Events(Line& line) : line_(line) {}
    void on_open() override { line_.opened(); }
    void on_reply(Reply&& reply) override { line_.owner_.on_reply(std::move(reply)); }
    void on_written() override { line_.owner_.on_written(); }
    void on_closed(const std::string& why, bool denied) override { line_.closed(why, denied); }

   private:
    Line& line_;
  };

  void attempt();
  void connect(const Endpoint& endpoint);
  void opened();
  void closed(std::string_view why, bool denied);
  void wait_and_attempt();
  std::string name() const;

  Context& context_;
  const Kind kind_;
  EndpointSource& source_;
  LineOwner& owner_;
  Events events_{*this};
  std::shared_ptr<Connection> connection_;
  std::optional<Endpoint> endpoint_;
  boost::asio::steady_timer timer_;
  Backoff backoff_;
  bool up_ = false, finding_ = false, waiting_ = false, was_up_once_ = false;
  std::int64_t up_since_ms_ = 0, down_since_ms_, told_ms_ = 0;
  std::uint64_t search_ = 0;  // answers to earlier ones are ignored
  Lifeline life_;
};

}  // namespace hubbub::broker::redis
