#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/node_bus.hpp"
#include "hubbub/broker/redis/client.hpp"
#include "hubbub/broker/redis/node.hpp"

namespace hubbub::broker::redis {

/// One channel a shard of a node: questions go to shard 0, answers to the shard that asked. [shard]
class RedisBus final : public NodeBus {
 public:
  RedisBus(Client& client, const base::Clock& clock, Node& node, unsigned shard, std::int64_t wait_ms);

  /// Begins to listen. Before anybody asks.
  void start();

  NodeTag self() const override { return node_.tag(); }
  std::vector<NodeTag> others() const override;
  void ask(NodeTag node, std::string question, Done done) override;
  void tell(NodeTag node, std::string message) override;
  void set_handler(Handler handler) override { handler_ = std::move(handler); }

  static bool is_bus_channel(std::string_view channel);
  void on_message(std::string_view payload);
  /// Gives up what waits too long. About once a second.
  void tick();

 private:
  enum class Kind : std::uint8_t { kQuestion = 1, kAnswer, kTold };
  struct Waiting {
    std::int64_t until_ms;
    Done done;
  };
  static std::string channel_of(NodeTag node, unsigned shard);
  void send(NodeTag node, unsigned shard, Kind kind, std::uint64_t call, std::string_view payload);
  void finish(std::uint64_t call, base::Result<std::string> answer);

  Client& client_;
  const base::Clock& clock_;
  Node& node_;
  const unsigned shard_;
  const std::int64_t wait_ms_;
  Handler handler_;
  std::uint64_t next_call_ = 1;
  boost::unordered_flat_map<std::uint64_t, Waiting> waiting_;
};

}  // namespace hubbub::broker::redis
