#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/ring.hpp"
#include "hubbub/broker/redis/routing.hpp"

namespace hubbub::broker::redis {

/// A fixed set of servers: one, or a ring.
class FixedServers final : public Routing, private CommandLinkOwner, private SubscriptionRouter {
 public:
  FixedServers(Context& context, ClientSink& sink);

  void start() override;
  void send(std::string_view route, PendingCommand&& command) override;
  Subscriptions& subscriptions() override { return subscriptions_; }
  bool is_ready() const override;

 private:
  struct Server {
    FixedEndpoint endpoint;
    CommandLink commands;
    SubscriptionLink subscriptions;
    Server(FixedServers& all, const Endpoint& where);
  };
  Server& server_of(std::string_view route);

  void on_link_up(CommandLink& link) override;
  SubscriptionLink* link_of(std::string_view channel) override { return &server_of(channel).subscriptions; }
  void on_misrouted(std::string_view, std::string_view) override {}  // only a Cluster says so

  Context& context_;
  Subscriptions subscriptions_;
  const Ring ring_;
  std::vector<std::unique_ptr<Server>> servers_;
};

}  // namespace hubbub::broker::redis
