#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/cluster_map.hpp"
#include "hubbub/broker/redis/inquiry.hpp"
#include "hubbub/broker/redis/routing.hpp"

namespace hubbub::broker::redis {

/// Redis Cluster: a slot belongs to a node, and may move while commands are on their way.
///
/// Order within a slot is kept by this: its commands are in one link's queue, or in the slot's hold. A slot is held
/// from the first answer that means "not here" or "not now", or when the map says that it has moved: then nothing new
/// is sent, until all that was sent has been answered; what was turned away goes first. [shard]
class Cluster final : public Routing, private CommandLinkOwner, private SubscriptionRouter {
 public:
  Cluster(Context& context, ClientSink& sink);
  ~Cluster() override;

  void start() override;
  void send(std::string_view route, PendingCommand&& command) override;
  Subscriptions& subscriptions() override { return subscriptions_; }
  bool is_ready() const override;

 private:
  struct Node {
    FixedEndpoint source;
    CommandLink commands;
    SubscriptionLink subscriptions;
    const Endpoint endpoint;
    bool owns = false;     // any slot
    bool stalled = false;  // seen so since the last map
    Node(Cluster& cluster, const Endpoint& where);
  };
  struct Hold {
    CommandLink* draining = nullptr;  // where in_flight have been sent
    std::size_t in_flight = 0;
    std::deque<PendingCommand> returned;  // turned away, in order
    std::deque<PendingCommand> waiting;   // later than those
    Node* ask = nullptr;                  // where the returned are to be tried next
    std::int64_t since_ms = 0, not_before_ms = 0;
  };

  bool on_turned_away(CommandLink& link, PendingCommand& command, const Reply& reply) override;
  void on_settled(CommandLink& link, std::uint16_t slot) override;
  void on_link_up(CommandLink& link) override;
  void on_link_down(CommandLink& link) override;
  void on_link_unreachable(CommandLink&) override { refresh_soon(); }
  void on_link_stalled(CommandLink& link) override;
  SubscriptionLink* link_of(std::string_view channel) override;
  void on_misrouted(std::string_view channel, std::string_view error) override;

  Node& node_at(const Endpoint& endpoint);
  Node* node_of(const CommandLink& link);
  Hold& hold_of(std::uint16_t slot);
  void pull_moved(Node& node);
  void advance(std::uint16_t slot);
  void advance_all();
  void tick();
  void tick_soon();

  void refresh_soon();
  void refresh_at(std::int64_t when_ms);
  void refresh();
  bool wants_map() const;
  void apply(const std::vector<SlotRange>& ranges);
  bool is_in_use(const Node& node) const;
  void settle_subscriptions_soon();

  Context& context_;
  Subscriptions subscriptions_;
  std::map<std::pair<std::string, std::uint16_t>, std::unique_ptr<Node>> nodes_;
  std::vector<Node*> owners_;  // by slot; null: nobody knows
  bool mapped_ = false;        // every slot has an owner
  std::unordered_map<std::uint16_t, Hold> holds_;
  std::unique_ptr<Inquiry> inquiry_;
  boost::asio::steady_timer tick_timer_, refresh_timer_;
  std::int64_t refreshed_ms_ = 0, refresh_due_ms_ = 0;
  std::size_t rotation_ = 0;
  bool ticking_ = false, refresh_again_ = false, settling_ = false;
  Lifeline life_;
};

}  // namespace hubbub::broker::redis
