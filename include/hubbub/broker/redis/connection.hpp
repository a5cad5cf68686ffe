#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/command.hpp"
#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/reply_reader.hpp"

namespace hubbub::broker::redis {

/// What is said first on a connection, and must be answered well before anything else is said.
class Greeting {
 public:
  enum class Step : std::uint8_t { kAuth, kSelect, kMaster, kScript, kPing };

  /// AUTH, SELECT, ROLE when `of_master`, SCRIPT LOAD for each; at last PING, which a server that is loading its data
  /// refuses.
  static Greeting for_commands(const Context& context, bool of_master);
  static Greeting for_subscriptions(const Context& context, bool of_master);
  static Greeting for_sentinel(const Context& context);

  const std::string& bytes() const { return bytes_; }
  const std::vector<Step>& steps() const { return steps_; }

 private:
  void add(Step step, const Command& command);
  void add_auth(const std::string& user, const std::string& password);
  std::string bytes_;
  std::vector<Step> steps_;
};

/// Told of a connection. It may destroy or close the connection in any of these. [shard]
class ConnectionOwner {
 public:
  virtual void on_open() = 0;
  virtual void on_reply(Reply&& reply) = 0;
  /// All that was to be written is with the kernel.
  virtual void on_written() = 0;
  /// Nothing follows. `denied`: the server refused the login, so that coming again soon helps little.
  virtual void on_closed(const std::string& why, bool denied) = 0;

 protected:
  ~ConnectionOwner() = default;
};

/// One connection to one server, by TCP or TLS, that is opened once, greets, and carries bytes out and replies in.
/// Keeps itself alive while operations are under way; what it tells ends with close(). [shard]
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Context& context, Endpoint endpoint, Greeting greeting, ConnectionOwner& owner);

  /// Answers on_open, or on_closed after `connect_timeout_ms` at the latest; neither within the call.
  void open();
  /// Silently.
  void close();

  const Endpoint& endpoint() const { return endpoint_; }
  /// Append here, then call start_write(), which does nothing while a write is under way: all that is appended
  /// meanwhile leaves with the next one.
  std::string& out() { return out_; }
  void start_write();

 private:
  boost::asio::awaitable<void> establish();
  boost::asio::awaitable<void> greet();
  template <class F>
  auto with_stream(F&& f) {
    return tls_ ? f(*tls_) : f(socket_);
  }
  void read();
  bool handle(std::string_view bytes);
  void fail(const std::string& why, bool denied = false);
  void close_socket();

  Context& context_;  // not touched once owner_ is null: it may be gone
  const Endpoint endpoint_;
  const Greeting greeting_;
  ConnectionOwner* owner_;
  boost::asio::ip::tcp::socket socket_;
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>> tls_;
  boost::asio::steady_timer timer_;
  boost::asio::ip::tcp::resolver resolver_;
  ReplyReader reader_;
  std::string out_, writing_;
  bool is_writing_ = false;
  std::size_t greeted_ = 0;
  std::unique_ptr<std::array<char, 64UL * 1024>> in_;
};

}  // namespace hubbub::broker::redis
