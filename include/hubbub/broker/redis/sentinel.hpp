#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/inquiry.hpp"
#include "hubbub/broker/redis/routing.hpp"

namespace hubbub::broker::redis {

/// Asks the sentinels who is master, and listens for the news that another is. [shard]
class SentinelMaster final : public EndpointSource, private SubscriptionLinkOwner {
 public:
  /// `on_change` is told when what was found before may be no longer true.
  SentinelMaster(Context& context, std::function<void(const Endpoint&)> on_change);

  void start() { watch_.start(); }
  void find(Found found) override;

 private:
  /// One sentinel after the other, for the connection that listens.
  class Rotation final : public EndpointSource {
   public:
    explicit Rotation(const std::vector<Endpoint>& endpoints) : endpoints_(endpoints) {}
    void find(Found found) override { found(endpoints_[next_++ % endpoints_.size()]); }

   private:
    const std::vector<Endpoint>& endpoints_;
    std::size_t next_ = 0;
  };

  void ask();
  void on_link_up(SubscriptionLink& link) override;
  void on_link_down(SubscriptionLink&) override {}
  void on_confirmed(SubscriptionLink&, const SubscriptionPtr&) override;
  void on_refused(SubscriptionLink&, const SubscriptionPtr&, const Reply&) override {}
  void on_revoked(SubscriptionLink&, std::string_view) override {}
  void on_message(SubscriptionLink&, std::string_view channel, std::string_view payload) override;

  Context& context_;
  const std::function<void(const Endpoint&)> on_change_;
  Rotation rotation_;
  SubscriptionLink watch_;
  std::vector<Found> finders_;
  std::unique_ptr<Inquiry> inquiry_;
  std::optional<Endpoint> answer_;
  std::optional<Endpoint> announced_;  // believed for a while: other sentinels may not have heard of it yet
  std::int64_t announced_ms_ = 0;
  bool missed_news_ = false;
  std::size_t first_ = 0;  // the sentinel to ask first: the last that knew
  Lifeline life_;
};

/// The one server that is master now.
class SentinelServer final : public Routing, private CommandLinkOwner, private SubscriptionRouter {
 public:
  SentinelServer(Context& context, ClientSink& sink);

  void start() override;
  void send(std::string_view, PendingCommand&& command) override { commands_.push(std::move(command)); }
  Subscriptions& subscriptions() override { return subscriptions_; }
  bool is_ready() const override { return commands_.is_ready(); }

 private:
  void on_master(const Endpoint& master);
  void on_link_up(CommandLink&) override { link_.line().hurry(); }
  SubscriptionLink* link_of(std::string_view) override { return &link_; }
  void on_misrouted(std::string_view, std::string_view) override {}

  Subscriptions subscriptions_;
  SentinelMaster master_;
  CommandLink commands_;
  SubscriptionLink link_;
};

}  // namespace hubbub::broker::redis
