#include "hubbub/broker/redis/cluster.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bitset>
#include <boost/asio/post.hpp>
#include <iterator>
#include <utility>

#include "hubbub/broker/redis/errors.hpp"
#include "hubbub/broker/redis/slot.hpp"

namespace hubbub::broker::redis {

namespace {

constexpr std::int64_t kTickMs = 50;           // while a slot is held
constexpr std::int64_t kRefreshEveryMs = 300;  // at most
constexpr std::int64_t kRetryEveryMs = 1'000;  // while something is amiss
constexpr std::int64_t kMomentMs = 1'000;

}  // namespace

Cluster::Node::Node(Cluster& cluster, const Endpoint& where)
    : source(where),
      commands(cluster.context_, source, cluster),
      subscriptions(cluster.context_, Line::Kind::kSubscriptions, source, cluster.subscriptions_),
      endpoint(where) {}

Cluster::Cluster(Context& context, ClientSink& sink)
    : context_(context),
      subscriptions_(context, sink, *this),
      owners_(kSlots, nullptr),
      tick_timer_(context.io),
      refresh_timer_(context.io) {}

Cluster::~Cluster() = default;

void Cluster::start() { refresh(); }

// HOT PATH
void Cluster::send(std::string_view route, PendingCommand&& command) {
  const auto slot = static_cast<std::uint16_t>(slot_of(route));
  command.slot = slot;
  Node* const owner = owners_[slot];
  const auto hold = holds_.empty() ? holds_.end() : holds_.find(slot);
  if (hold == holds_.end() && owner != nullptr) return owner->commands.push(std::move(command));
  hold_of(slot).waiting.push_back(std::move(command));
  if (owner == nullptr) refresh_soon();
}

bool Cluster::is_ready() const {
  const auto now = now_ms();
  const auto is_fine = [](const auto& node) { return !node.second->owns || node.second->commands.is_ready(); };
  return mapped_ && std::all_of(nodes_.begin(), nodes_.end(), is_fine) &&
         std::none_of(holds_.begin(), holds_.end(),
                      [&](const auto& hold) { return now - hold.second.since_ms > kMomentMs; });
}

Cluster::Node& Cluster::node_at(const Endpoint& endpoint) {
  auto& node = nodes_[{endpoint.host, endpoint.port}];
  if (node) return *node;
  node = std::make_unique<Node>(*this, endpoint);
  // Not within what may be another node's call.
  boost::asio::post(context_.io, life_.guard([this, endpoint] {
    const auto it = nodes_.find({endpoint.host, endpoint.port});
    if (it == nodes_.end()) return;
    it->second->commands.start();
    it->second->subscriptions.start();
  }));
  return *node;
}

Cluster::Node* Cluster::node_of(const CommandLink& link) {
  for (const auto& [key, node] : nodes_) {
    if (&node->commands == &link) return node.get();
  }
  return nullptr;
}

/// The slot's hold; a new one takes what the links have of the slot: what was sent is counted, the rest waits.
Cluster::Hold& Cluster::hold_of(std::uint16_t slot) {
  const auto [it, fresh] = holds_.try_emplace(slot);
  Hold& hold = it->second;
  if (!fresh) return hold;
  hold.since_ms = now_ms();
  tick_soon();
  for (const auto& [key, node] : nodes_) {
    CommandLink& link = node->commands;
    link.visit(
        [&](const PendingCommand& sent) {
          if (sent.slot != slot) return;
          hold.draining = &link;
          ++hold.in_flight;
        },
        [&](PendingCommand& unsent) {
          if (unsent.slot != slot) return false;
          hold.waiting.push_back(std::move(unsent));
          return true;
        });
  }
  return hold;
}

bool Cluster::on_turned_away(CommandLink& link, PendingCommand& command, const Reply& reply) {
  const std::uint16_t slot = command.slot;
  const bool fresh = holds_.find(slot) == holds_.end();
  Hold& hold = hold_of(slot);
  // It has left the queue already, so a new hold has not counted it.
  if (!fresh && hold.draining == &link && hold.in_flight > 0) --hold.in_flight;
  command.asking = false;
  if (!command.is_answered()) hold.returned.push_back(std::move(command));
  const auto redirect = parse_redirect(reply.text(), link.line().endpoint().value_or(Endpoint{}));
  if (redirect && redirect->ask) {
    hold.ask = &node_at(redirect->target);
  } else if (redirect) {
    owners_[slot] = &node_at(redirect->target);
    owners_[slot]->owns = true;
    settle_subscriptions_soon();
    refresh_soon();
  } else {
    hold.not_before_ms = now_ms() + kTickMs;
    if (error_code_of(reply.text()) != "TRYAGAIN") refresh_soon();
  }
  advance(slot);
  return true;
}

void Cluster::on_settled(CommandLink& link, std::uint16_t slot) {
  if (holds_.empty()) return;
  const auto it = holds_.find(slot);
  if (it == holds_.end() || it->second.draining != &link || it->second.in_flight == 0) return;
  if (--it->second.in_flight == 0) advance(slot);
}

void Cluster::on_link_up(CommandLink& link) {
  if (Node* const node = node_of(link)) node->subscriptions.line().hurry();
}

void Cluster::on_link_down(CommandLink& link) {
  // No more answers come, so what was in flight of held slots counts as turned away.
  const auto is_drained_here = [&](std::uint16_t slot) {
    const auto it = holds_.find(slot);
    return it != holds_.end() && it->second.draining == &link;
  };
  if (!holds_.empty()) {
    link.visit([](const PendingCommand&) {},
               [&](PendingCommand& command) {
                 if (!is_drained_here(command.slot)) return false;
                 command.asking = false;
                 holds_[command.slot].returned.push_back(std::move(command));
                 return true;
               });
  }
  for (auto& [slot, hold] : holds_) {
    if (hold.draining == &link) hold.in_flight = 0;
  }
  advance_all();
  refresh_soon();
}

void Cluster::on_link_stalled(CommandLink& link) {
  if (Node* const node = node_of(link)) node->stalled = true;
  refresh_soon();
}

SubscriptionLink* Cluster::link_of(std::string_view channel) {
  Node* const owner = owners_[slot_of(channel)];
  if (owner != nullptr) return &owner->subscriptions;
  refresh_soon();
  return nullptr;
}

void Cluster::on_misrouted(std::string_view channel, std::string_view error) {
  const unsigned slot = slot_of(channel);
  Node* const owner = owners_[slot];
  const auto redirect = parse_redirect(error, owner == nullptr ? Endpoint{} : owner->endpoint);
  if (!redirect || redirect->ask) return refresh_soon();
  Node& target = node_at(redirect->target);
  settle_subscriptions_soon();
  if (&target == owner) return refresh_soon();
  owners_[slot] = &target;
  target.owns = true;
  if (owner != nullptr) pull_moved(*owner);
}

/// Holds those slots of which the node's link has commands, though they are not the node's any more.
void Cluster::pull_moved(Node& node) {
  CommandLink& link = node.commands;
  std::bitset<kSlots> moved;
  const auto look = [&](const PendingCommand& command) {
    const Node* const owner = owners_[command.slot];
    if (owner == nullptr || owner == &node) return;
    const auto hold = holds_.find(command.slot);
    if (hold == holds_.end() || hold->second.draining != &link) moved.set(command.slot);
  };
  link.visit(look, [&](PendingCommand& command) {
    look(command);
    return false;
  });
  if (moved.none()) return;
  const auto hold_of_moved = [&](std::uint16_t slot) -> Hold& {
    const auto [it, fresh] = holds_.try_emplace(slot);
    if (fresh) it->second.since_ms = now_ms();
    return it->second;
  };
  link.visit(
      [&](const PendingCommand& sent) {
        if (!moved.test(sent.slot)) return;
        Hold& hold = hold_of_moved(sent.slot);
        hold.draining = &link;
        ++hold.in_flight;
      },
      [&](PendingCommand& unsent) {
        if (!moved.test(unsent.slot)) return false;
        hold_of_moved(unsent.slot).waiting.push_back(std::move(unsent));
        return true;
      });
  tick_soon();
  advance_all();
}

/// Sends what the slot's hold has, if it is its time.
void Cluster::advance(std::uint16_t slot) {
  const auto it = holds_.find(slot);
  if (it == holds_.end() || it->second.in_flight != 0) return;
  Hold& hold = it->second;
  hold.draining = nullptr;
  Node* const ask = std::exchange(hold.ask, nullptr);
  if (ask != nullptr && !hold.returned.empty()) {
    hold.draining = &ask->commands;
    hold.in_flight = hold.returned.size();
    for (PendingCommand& command : hold.returned) {
      command.asking = true;
      ask->commands.push(std::move(command));
    }
    hold.returned.clear();
    return;
  }
  Node* const owner = owners_[slot];
  if (owner == nullptr || now_ms() < hold.not_before_ms) return;
  for (PendingCommand& command : hold.returned) owner->commands.push(std::move(command));
  for (PendingCommand& command : hold.waiting) owner->commands.push(std::move(command));
  holds_.erase(it);
}

void Cluster::advance_all() {
  std::vector<std::uint16_t> slots;
  for (const auto& [slot, hold] : holds_) {
    if (hold.in_flight == 0) slots.push_back(slot);
  }
  for (const std::uint16_t slot : slots) advance(slot);
}

void Cluster::tick_soon() {
  if (std::exchange(ticking_, true)) return;
  tick_timer_.expires_after(std::chrono::milliseconds(kTickMs));
  tick_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    ticking_ = false;
    if (!error) tick();
  }));
}

void Cluster::tick() {
  const auto now = now_ms();
  std::vector<PendingCommand> late;
  const auto take_late = [&](std::deque<PendingCommand>& commands) {
    for (PendingCommand& command : commands) {
      if (command.deadline_ms > now) continue;
      late.push_back({std::exchange(command.bytes, {}), std::exchange(command.done, {}), 0, 0, false, 0});
    }
    std::erase_if(commands, [](const PendingCommand& command) { return command.is_answered(); });
  };
  for (auto& [slot, hold] : holds_) {
    take_late(hold.returned);
    take_late(hold.waiting);
  }
  std::erase_if(holds_, [](const auto& entry) {
    const Hold& hold = entry.second;
    return hold.in_flight == 0 && hold.returned.empty() && hold.waiting.empty();
  });
  advance_all();
  if (!holds_.empty()) {
    tick_soon();
    if (wants_map()) refresh_soon();
  }
  if (!late.empty() && context_.log.may_log("late")) {
    spdlog::warn("Redis Cluster: {} commands not answered in time", late.size());
  }
  const auto alive = life_.watch();
  for (PendingCommand& command : late) {
    settle(context_, command, make_error_code(RedisError::kUnavailable));
    if (alive.expired()) return;
  }
}

void Cluster::refresh_soon() {
  if (inquiry_) {
    refresh_again_ = true;
    return;
  }
  refresh_at(std::max(now_ms(), refreshed_ms_ + kRefreshEveryMs));
}

void Cluster::refresh_at(std::int64_t when_ms) {
  if (refresh_due_ms_ != 0 && refresh_due_ms_ <= when_ms) return;
  refresh_due_ms_ = when_ms;
  refresh_timer_.expires_at(boost::asio::steady_timer::time_point(std::chrono::milliseconds(when_ms)));
  refresh_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (error) return;
    refresh_due_ms_ = 0;
    if (!inquiry_) refresh();
  }));
}

/// Whether the map may be wrong, or is not whole.
bool Cluster::wants_map() const {
  return !mapped_ || std::any_of(nodes_.begin(), nodes_.end(),
                                 [](const auto& node) { return !node.second->commands.line().is_up(); });
}

void Cluster::refresh() {
  // Nodes that answer first, each time another of them; then whoever was named at the start.
  std::vector<Endpoint> endpoints, others;
  for (const auto& [key, node] : nodes_) {
    (node->commands.line().is_up() && !node->stalled ? endpoints : others).push_back(node->endpoint);
  }
  if (!endpoints.empty()) {
    const auto first = static_cast<std::ptrdiff_t>(rotation_++ % endpoints.size());
    std::rotate(endpoints.begin(), endpoints.begin() + first, endpoints.end());
  }
  others.insert(others.begin(), context_.options.endpoints.begin(), context_.options.endpoints.end());
  for (Endpoint& endpoint : others) {
    if (std::find(endpoints.begin(), endpoints.end(), endpoint) == endpoints.end()) endpoints.push_back(endpoint);
  }

  const auto ranges = std::make_shared<std::vector<SlotRange>>();
  const auto accept = [ranges](const Reply& reply, const Endpoint& asked) {
    *ranges = parse_cluster_slots(reply, asked);
    return !ranges->empty();
  };
  const auto done = [this, ranges](bool accepted) {
    const auto ended = std::move(inquiry_);  // whose call this is
    refreshed_ms_ = now_ms();
    if (accepted) {
      apply(*ranges);
    } else if (context_.log.may_log("map")) {
      spdlog::warn("Redis Cluster: nobody tells which node has which slot");
    }
    if (std::exchange(refresh_again_, false)) {
      refresh_soon();
    } else if (wants_map()) {
      refresh_at(now_ms() + kRetryEveryMs);
    }
  };
  refresh_again_ = false;
  inquiry_ = std::make_unique<Inquiry>(context_, Greeting::for_subscriptions(context_, false), std::move(endpoints),
                                       std::move(Command(2).add("CLUSTER").add("SLOTS")), accept, done);
  inquiry_->start();
}

void Cluster::apply(const std::vector<SlotRange>& ranges) {
  std::vector<Node*> owners(kSlots, nullptr);
  std::vector<Node*> idle;
  for (const auto& [key, node] : nodes_) {
    if (!node->owns) idle.push_back(node.get());
    node->owns = false;
  }
  for (const SlotRange& range : ranges) {
    Node& node = node_at(range.master);
    node.owns = true;
    std::fill(owners.begin() + range.first, owners.begin() + range.last + 1, &node);
  }
  owners_ = std::move(owners);
  mapped_ = std::find(owners_.begin(), owners_.end(), nullptr) == owners_.end();

  std::vector<Node*> lost;
  for (const auto& [key, node] : nodes_) {
    if (std::exchange(node->stalled, false) && !node->owns) lost.push_back(node.get());
  }
  // What it owes will not come in time, and its slots have others by now.
  for (Node* const node : lost) node->commands.line().drop("it does not answer, and its slots have been given away");
  for (const auto& [key, node] : nodes_) pull_moved(*node);
  advance_all();
  settle_subscriptions_soon();

  for (Node* const node : idle) {
    if (node->owns || !node->commands.is_idle() || is_in_use(*node)) continue;
    subscriptions_.forget(node->subscriptions);
    nodes_.erase({node->endpoint.host, node->endpoint.port});
  }
}

bool Cluster::is_in_use(const Node& node) const {
  return std::any_of(holds_.begin(), holds_.end(), [&](const auto& entry) {
    return entry.second.draining == &node.commands || entry.second.ask == &node;
  });
}

void Cluster::settle_subscriptions_soon() {
  if (std::exchange(settling_, true)) return;
  boost::asio::post(context_.io, life_.guard([this] {
    settling_ = false;
    subscriptions_.settle_down();
  }));
}

}  // namespace hubbub::broker::redis
