#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/result.hpp"
#include "hubbub/broker/redis/command.hpp"
#include "hubbub/broker/redis/options.hpp"
#include "hubbub/broker/redis/reply.hpp"

namespace hubbub::broker::redis {

/// Told of what comes over subscriptions. [shard]
class ClientSink {
 public:
  /// `payload` lives as long as the call.
  virtual void on_message(std::string_view channel, std::string_view payload) = 0;
  /// The subscription was lost and stands again: what was published meanwhile was missed.
  virtual void on_resubscribed(std::string_view channel) = 0;

 protected:
  ~ClientSink() = default;
};

/// One shard's way to Redis, whatever the topology: one server, a list of servers (consistent hashing), Sentinel or
/// Cluster. To each server one connection for commands, pipelined, and one for subscriptions. All calls and callbacks
/// [shard]; callbacks never run within the call that asks for them.
///
/// A route (the name of a channel) decides which server a command goes to, and which slot: all keys made by
/// key(route, ...) and the channel of that name live there together.
///
/// What it promises:
/// - commands of one route are carried out in the order of their calls, also across reconnects and redirects;
/// - what was sent and not answered when a connection is lost is sent again, in order: so a command must bear being
///   carried out twice, and scripts that must not know a repetition by themselves;
/// - a command is answered exactly once: with Redis's reply, or with an error: kServer (Redis answered with one; it is
///   logged), kUnavailable (no answer within `wait_ms`; it may have been carried out, or may be yet), kOverloaded (more
///   than `queue_bytes` wait);
/// - after subscribe's completion no message of the channel is missed unless on_resubscribed follows; after
///   unsubscribe returns none comes.
class Client {
 public:
  using Done = base::InlineFunction<void(base::Result<Reply>), 96>;
  using SubscribeDone = base::InlineFunction<void(base::Result<void>), 96>;

  /// `scripts` are loaded on each new connection before anything else (SCRIPT LOAD), and again when one turns out to be
  /// forgotten (NOSCRIPT). They outlive the client.
  Client(boost::asio::io_context& io, ClientOptions options, std::vector<const Script*> scripts, ClientSink& sink);
  /// Answers nothing any more.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view route, Command command, Done done);
  /// SUBSCRIBE, or SSUBSCRIBE in a Cluster. Once a channel, until it is unsubscribed.
  void subscribe(std::string_view channel, SubscribeDone done);
  /// Does nothing when it is not subscribed. A completion that is due comes with kAborted.
  void unsubscribe(std::string_view channel);

  /// `hubbub:{tag}:<suffix>`, where the tag has the slot of `route` (hubbub/broker/redis/slot.hpp).
  static std::string key(std::string_view route, std::string_view suffix);
  /// What scripts say to publish: "PUBLISH", or "SPUBLISH" in a Cluster.
  std::string_view publish_verb() const;

  /// Whether commands are being answered: false while any server that it needs has been away for longer than a moment.
  bool is_ready() const;

  struct Usage {
    std::uint64_t commands = 0;    ///< sent, repetitions not counted
    std::uint64_t reconnects = 0;  ///< of either kind of connection
    std::uint64_t failed = 0;      ///< answered with an error of our own
    std::size_t queued_bytes = 0;  ///< waiting or unanswered now
    std::size_t subscriptions = 0;
  };
  Usage usage() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hubbub::broker::redis
