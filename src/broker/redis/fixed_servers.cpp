#include "hubbub/broker/redis/fixed_servers.hpp"

#include <algorithm>
#include <utility>

namespace hubbub::broker::redis {

FixedServers::Server::Server(FixedServers& all, const Endpoint& where)
    : endpoint(where),
      commands(all.context_, endpoint, all),
      subscriptions(all.context_, Line::Kind::kSubscriptions, endpoint, all.subscriptions_) {}

FixedServers::FixedServers(Context& context, ClientSink& sink)
    : context_(context), subscriptions_(context, sink, *this), ring_(context.options.endpoints) {
  for (const Endpoint& endpoint : context.options.endpoints) {
    servers_.push_back(std::make_unique<Server>(*this, endpoint));
  }
}

void FixedServers::start() {
  for (const auto& server : servers_) {
    server->commands.start();
    server->subscriptions.start();
  }
}

FixedServers::Server& FixedServers::server_of(std::string_view route) {
  return *(servers_.size() == 1 ? servers_.front() : servers_[ring_.server_of(route)]);
}

void FixedServers::send(std::string_view route, PendingCommand&& command) {
  server_of(route).commands.push(std::move(command));
}

bool FixedServers::is_ready() const {
  return std::all_of(servers_.begin(), servers_.end(), [](const auto& server) { return server->commands.is_ready(); });
}

void FixedServers::on_link_up(CommandLink& link) {
  for (const auto& server : servers_) {
    if (&server->commands == &link) server->subscriptions.line().hurry();
  }
}

}  // namespace hubbub::broker::redis
