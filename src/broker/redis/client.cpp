#include "hubbub/broker/redis/client.hpp"

#include <boost/asio/post.hpp>
#include <stdexcept>
#include <utility>

#include "hubbub/broker/redis/cluster.hpp"
#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/errors.hpp"
#include "hubbub/broker/redis/fixed_servers.hpp"
#include "hubbub/broker/redis/routing.hpp"
#include "hubbub/broker/redis/sentinel.hpp"
#include "hubbub/broker/redis/slot.hpp"

namespace hubbub::broker::redis {

std::unique_ptr<Routing> make_routing(Context& context, ClientSink& sink) {
  if (context.options.endpoints.empty()) throw std::invalid_argument("no Redis server is named");
  switch (context.options.topology) {
    case Topology::kSingle:
    case Topology::kRing:
      return std::make_unique<FixedServers>(context, sink);
    case Topology::kSentinel:
      return std::make_unique<SentinelServer>(context, sink);
    case Topology::kCluster:
      return std::make_unique<Cluster>(context, sink);
  }
  throw std::invalid_argument("no such Redis topology");
}

class Client::Impl {
 public:
  Impl(boost::asio::io_context& io, ClientOptions options, std::vector<const Script*> scripts, ClientSink& sink)
      : context_(io, std::move(options), std::move(scripts)), routing_(make_routing(context_, sink)) {
    // Not within the constructor: the owner is not ready to be told of anything.
    boost::asio::post(io, life_.guard([this] { routing_->start(); }));
  }

  // HOT PATH
  void send(std::string_view route, Command command, Done done) {
    PendingCommand pending;
    pending.bytes = std::move(command).take();
    pending.done = std::move(done);
    if (context_.usage.queued_bytes + pending.bytes.size() > context_.options.queue_bytes) {
      ++context_.usage.failed;
      boost::asio::post(context_.io, life_.guard([done = std::move(pending.done)]() mutable {
        done(make_error_code(RedisError::kOverloaded));
      }));
      return;
    }
    ++context_.usage.commands;
    context_.usage.queued_bytes += pending.bytes.size();
    pending.deadline_ms = now_ms() + context_.options.wait_ms;
    routing_->send(route, std::move(pending));
  }

  Subscriptions& subscriptions() { return routing_->subscriptions(); }
  bool is_ready() const { return routing_->is_ready(); }
  std::string_view publish_verb() const {
    return context_.options.topology == Topology::kCluster ? "SPUBLISH" : "PUBLISH";
  }
  Usage usage() const {
    Usage usage = context_.usage;
    usage.subscriptions = routing_->subscriptions().size();
    return usage;
  }

 private:
  Context context_;
  std::unique_ptr<Routing> routing_;
  Lifeline life_;
};

Client::Client(boost::asio::io_context& io, ClientOptions options, std::vector<const Script*> scripts, ClientSink& sink)
    : impl_(std::make_unique<Impl>(io, std::move(options), std::move(scripts), sink)) {}
Client::~Client() = default;

void Client::send(std::string_view route, Command command, Done done) {
  impl_->send(route, std::move(command), std::move(done));
}
void Client::subscribe(std::string_view channel, SubscribeDone done) {
  impl_->subscriptions().subscribe(channel, std::move(done));
}
void Client::unsubscribe(std::string_view channel) { impl_->subscriptions().unsubscribe(channel); }

std::string Client::key(std::string_view route, std::string_view suffix) {
  std::string key = "hubbub:{" + tag_of(slot_of(route)) + "}:";
  key += suffix;
  return key;
}

std::string_view Client::publish_verb() const { return impl_->publish_verb(); }
bool Client::is_ready() const { return impl_->is_ready(); }
Client::Usage Client::usage() const { return impl_->usage(); }

}  // namespace hubbub::broker::redis
