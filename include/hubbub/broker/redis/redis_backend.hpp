#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/backend.hpp"
#include "hubbub/broker/redis/client.hpp"
#include "hubbub/broker/redis/node.hpp"
#include "hubbub/broker/redis/redis_broker.hpp"
#include "hubbub/broker/redis/redis_bus.hpp"
#include "hubbub/broker/redis/redis_presence.hpp"

namespace hubbub::broker::redis {

struct RedisBackendOptions {
  ClientOptions client{};
  RedisBrokerLimits limits{};
  std::int64_t lease_ms = 60'000;                         ///< how long a node may be silent
  std::int64_t last_seen_ttl_ms = 30LL * 24 * 3'600'000;  ///< how long it is known when somebody was last seen
};

/// All that one shard has of Redis: streams, presence and the bus over one client. Shard 0 keeps the node's lease, and
/// takes back what nodes that are no more had said. [shard] but for is_ready().
class RedisBackend final : public Backend, private ClientSink {
 public:
  /// `presence_sink` may be null: no presence then, and no lease (tests of the broker alone).
  RedisBackend(boost::asio::io_context& io, const base::Clock& clock, Node& node, unsigned shard,
               const RedisBackendOptions& options, BrokerSink& sink, PresenceSink* presence_sink);
  ~RedisBackend() override;

  Broker& broker() override { return broker_; }
  PresenceStore* presence() override { return presence_.get(); }
  NodeBus* bus() override { return presence_ ? &bus_ : nullptr; }
  bool is_ready() const override { return ready_.load(std::memory_order_relaxed); }
  void leave(base::InlineFunction<void()> done) override;

  Client& client() { return client_; }

 private:
  void on_message(std::string_view channel, std::string_view payload) override;
  void on_resubscribed(std::string_view channel) override;
  void tick();
  void beat();
  void on_beat(const Reply& reply, const std::string& lease);
  boost::asio::awaitable<void> sweep(std::string lease);

  boost::asio::io_context& io_;
  const base::Clock& clock_;
  Node& node_;
  const unsigned shard_;
  const RedisBackendOptions options_;
  std::atomic<bool> ready_{false};
  Client client_;
  RedisBroker broker_;
  std::unique_ptr<RedisPresence> presence_;
  RedisBus bus_;
  boost::asio::steady_timer timer_;
  std::int64_t next_beat_ms_ = 0;
  std::int64_t steady_since_ms_ = -1;  // beats have been answered since then; -1: the last one was not
  bool leaving_ = false;
  bool had_lease_ = false;  // Redis has heard of the present one
  std::set<std::string> sweeping_;
};

}  // namespace hubbub::broker::redis
