#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "hubbub/base/result.hpp"
#include "hubbub/runtime/shard_pool.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

/// Accepts on one address, on its shard's thread, and gives each socket to the shard with the fewest connections:
/// connections live long, so what SO_REUSEPORT's hash skews stays skewed.
class Listener {
 public:
  /// Hands an accepted socket to shard `index`. [listener's shard]
  using Handover = std::function<void(unsigned index, int fd, std::uint64_t address_hash)>;

  Listener(runtime::ShardPool& shards, TransportContext& context, Handover handover);

  /// Binds and listens; nothing is accepted before start(). Before the pool starts.
  base::error_code bind(const std::string& address, std::uint16_t port);
  std::string address_text() const;
  /// Before the pool starts.
  void start();
  /// [listener's shard]
  void close();

 private:
  void wait();
  void accept_ready();

  runtime::ShardPool& shards_;
  TransportContext& context_;
  Handover handover_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
};

}  // namespace hubbub::transport
