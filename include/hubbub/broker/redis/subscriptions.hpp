#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/subscription_link.hpp"

namespace hubbub::broker::redis {

/// Says which link a channel belongs to. [shard]
class SubscriptionRouter {
 public:
  /// Null while nobody knows: then Subscriptions::settle_down() follows when somebody does.
  virtual SubscriptionLink* link_of(std::string_view channel) = 0;
  /// A server says that the channel is not its own.
  virtual void on_misrouted(std::string_view channel, std::string_view error) = 0;

 protected:
  ~SubscriptionRouter() = default;
};

/// All subscriptions of a client, wherever they stand; sees to it that they stand again. [shard]
class Subscriptions final : public SubscriptionLinkOwner {
 public:
  Subscriptions(Context& context, ClientSink& sink, SubscriptionRouter& router);
  ~Subscriptions();

  void subscribe(std::string_view channel, Client::SubscribeDone done);
  void unsubscribe(std::string_view channel);
  std::size_t size() const { return by_channel_.size(); }

  /// Routes have changed: moves what stands elsewhere than it belongs.
  void settle_down();
  /// A link ends: what stood there stands nowhere.
  void forget(SubscriptionLink& link);

 private:
  void on_link_up(SubscriptionLink& link) override;
  void on_link_down(SubscriptionLink& link) override { forget(link); }
  void on_confirmed(SubscriptionLink& link, const SubscriptionPtr& subscription) override;
  void on_refused(SubscriptionLink& link, const SubscriptionPtr& subscription, const Reply& error) override;
  void on_revoked(SubscriptionLink& link, std::string_view channel) override;
  void on_message(SubscriptionLink& link, std::string_view channel, std::string_view payload) override;

  void place(const SubscriptionPtr& subscription);
  void end(const SubscriptionPtr& subscription, base::error_code why);
  void expire();
  void arm();

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  Context& context_;
  ClientSink& sink_;
  SubscriptionRouter& router_;
  std::unordered_map<std::string, SubscriptionPtr, Hash, std::equal_to<>> by_channel_;
  std::deque<std::weak_ptr<Subscription>> waiting_;  // for their first confirmation, by deadline
  boost::asio::steady_timer timer_;
  bool armed_ = false;
  Lifeline life_;
};

}  // namespace hubbub::broker::redis
