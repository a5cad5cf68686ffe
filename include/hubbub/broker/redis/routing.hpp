#pragma once

#include <memory>
#include <string_view>

#include "hubbub/broker/redis/command_link.hpp"
#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/subscriptions.hpp"

namespace hubbub::broker::redis {

/// What differs between topologies: which servers there are, and which of them a route belongs to. [shard]
class Routing {
 public:
  virtual ~Routing() = default;
  virtual void start() = 0;
  virtual void send(std::string_view route, PendingCommand&& command) = 0;
  virtual Subscriptions& subscriptions() = 0;
  virtual bool is_ready() const = 0;
};

std::unique_ptr<Routing> make_routing(Context& context, ClientSink& sink);

}  // namespace hubbub::broker::redis
