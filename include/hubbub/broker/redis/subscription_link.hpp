#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/line.hpp"

namespace hubbub::broker::redis {

class SubscriptionLink;

/// One wish to be subscribed; a later one for the same channel is another object, so that confirmations which are still
/// on their way are not taken for its own.
struct Subscription {
  std::string channel;
  Client::SubscribeDone done;
  std::int64_t deadline_ms = 0;
  SubscriptionLink* link = nullptr;  ///< where it stands or is asked for
  bool wanted = true;
  bool stands = false;
  bool stood = false;  ///< its subscriber has been told that it stands
};
using SubscriptionPtr = std::shared_ptr<Subscription>;

/// [shard]
class SubscriptionLinkOwner {
 public:
  /// Connected: nothing stands there, all that belongs there is to be asked for.
  virtual void on_link_up(SubscriptionLink&) = 0;
  virtual void on_link_down(SubscriptionLink&) = 0;
  virtual void on_confirmed(SubscriptionLink&, const SubscriptionPtr&) = 0;
  virtual void on_refused(SubscriptionLink&, const SubscriptionPtr&, const Reply& error) = 0;
  /// The server has ended it by itself (its slot has moved).
  virtual void on_revoked(SubscriptionLink&, std::string_view channel) = 0;
  virtual void on_message(SubscriptionLink&, std::string_view channel, std::string_view payload) = 0;

 protected:
  ~SubscriptionLinkOwner() = default;
};

/// The connection for subscriptions to one server. Keeps no subscriptions: its owner asks again after each on_link_up.
/// [shard]
class SubscriptionLink final : private LineOwner {
 public:
  SubscriptionLink(Context& context, Line::Kind kind, EndpointSource& source, SubscriptionLinkOwner& owner);
  ~SubscriptionLink();

  void start() { line_.start(); }
  bool is_up() const { return line_.is_up(); }
  Line& line() { return line_; }

  /// While it is up. What is asked for in one turn leaves together, many channels a command.
  void subscribe(SubscriptionPtr subscription);
  void unsubscribe(std::string_view channel);

 private:
  /// What has been asked, and is answered in this order.
  struct Question {
    enum class Kind : std::uint8_t { kSubscribe, kUnsubscribe, kPing } kind;
    SubscriptionPtr subscription;  // of kSubscribe
    std::string channel;           // of kUnsubscribe
    std::uint32_t batch = 1;       // of the first of a command: how many share it
  };

  void on_up() override;
  void on_reply(Reply&& reply) override;
  void on_written() override {}
  void on_down() override;

  void flush_soon();
  void flush();
  void on_error(const Reply& reply);
  void disorder();
  void watch_silence();
  void watch_silence_until(std::int64_t when_ms);

  Context& context_;
  SubscriptionLinkOwner& owner_;
  const bool sharded_;
  Line line_;
  std::deque<Question> unsent_, asked_;
  boost::asio::steady_timer silence_timer_;
  std::int64_t heard_ms_ = 0;
  std::int64_t asked_ms_ = 0;  // since when the oldest question is open, or the last was answered
  std::int64_t armed_ms_ = 0;
  bool flush_posted_ = false;
  Lifeline life_;
};

}  // namespace hubbub::broker::redis
