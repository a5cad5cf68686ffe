#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/counters.hpp"
#include "hubbub/protocol/ws_deflate.hpp"
#include "hubbub/protocol/ws_frame.hpp"
#include "hubbub/runtime/channel.hpp"
#include "hubbub/transport/http.hpp"

namespace hubbub::transport {

/// What transports need of the configuration; docs/configuration.md explains each.
struct TransportOptions {
  std::size_t message_max_bytes = 64 * 1024;
  std::size_t http_header_max_bytes = 8 * 1024;
  std::size_t http_body_max_bytes = 1024 * 1024;
  std::int64_t handshake_timeout_ms = 10'000;
  std::int64_t http_idle_timeout_ms = 60'000;
  std::int64_t heartbeat_ms = 30'000;
  std::int64_t close_timeout_ms = 5'000;
  std::size_t out_queue_bytes = 1024 * 1024;
  std::size_t max_sessions = 1'000'000;
  std::size_t max_connections_per_address = 0;  // 0: off
  bool compression = true;
  std::int64_t sse_keepalive_ms = 30'000;
  std::int64_t sse_retry_ms = 2'000;
  std::int64_t session_linger_ms = 30'000;
  std::int64_t poll_timeout_max_ms = 120'000;
};

/// Connections of each address, over all shards. [any thread]
class AddressCounts {
 public:
  /// False when `max` (0: no limit) are there already.
  bool try_add(std::uint64_t address_hash, std::size_t max);
  void remove(std::uint64_t address_hash);

 private:
  std::mutex mutex_;
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> counts_;
};

class HttpConnection;
class HttpSession;
class ShardTransport;
class TransportConnection;

/// What all shards' transports share.
struct TransportContext {
  hub::ConnectionManager& manager;
  TransportOptions options;
  Router router{};
  AddressCounts addresses{};
  std::atomic<bool> stopping{false};
  std::vector<ShardTransport*> transports{};  ///< by shard
};

/// Names a request whose answer comes later. [any thread]
struct DeferredAnswer {
  unsigned shard = 0;
  std::uint64_t id = 0;
};

/// One shard's connections and the tools that they share. [shard]
class ShardTransport {
 public:
  ShardTransport(TransportContext& context, runtime::Shard& shard);
  ~ShardTransport();

  TransportContext& context() { return context_; }
  const TransportOptions& options() const { return context_.options; }
  runtime::Shard& shard() { return shard_; }
  protocol::Inflater& inflater() { return inflater_; }
  /// For `/echo` alone; sessions use their SessionShard's framer.
  protocol::Deflater& echo_deflater();
  protocol::DecoderConfig decoder_config(bool deflate) const { return {options().message_max_bytes, deflate}; }

  /// Takes an accepted socket.
  void accept(int fd, std::uint64_t address_hash);
  /// Tells every connection that the server stops.
  void begin_stop();
  std::size_t connection_count() const { return connections_.size(); }

  /// Answers a deferred request of this shard; nothing happens when its connection has gone.
  void answer(std::uint64_t deferred_id, const HttpResponse& response);

  /// The session over SSE or polling with this id; null when there is none.
  HttpSession* find_http_session(hub::SessionId id) const;
  /// The user's session for polls that bring neither cursor nor key; null when there is none.
  HttpSession* find_plain_poll(const base::SharedString& user) const;
  /// Polls that wait for something to come. [any thread]
  std::uint64_t waiting_polls() const { return waiting_polls_.get(); }

 private:
  friend class TransportConnection;
  friend class HttpConnection;
  friend class HttpSession;
  TransportContext& context_;
  runtime::Shard& shard_;
  protocol::Inflater inflater_;
  std::unique_ptr<protocol::Deflater> echo_deflater_;
  std::vector<TransportConnection*> connections_;
  boost::unordered_flat_map<std::uint64_t, HttpConnection*> deferred_;
  std::uint64_t next_deferred_ = 1;
  boost::unordered_flat_map<hub::SessionId, HttpSession*> http_sessions_;
  boost::unordered_flat_map<base::SharedString, HttpSession*, base::SharedStringHash, base::SharedStringEqual>
      plain_polls_;
  hub::Counter waiting_polls_;
};

/// A connection that its shard knows of, whatever it speaks.
class TransportConnection : public runtime::Channel {
 public:
  TransportConnection(ShardTransport& transport, int fd, std::uint64_t address_hash);
  /// Goes on with the socket of `from`, in another protocol.
  explicit TransportConnection(TransportConnection& from);
  ~TransportConnection() override;

  /// As Channel::release; whoever takes the descriptor takes over that its address is counted.
  int release_to_other_shard();

  ShardTransport& transport() const { return transport_; }
  std::uint64_t address_hash() const { return address_hash_; }
  /// The server stops: say so and close.
  virtual void on_stop() = 0;

 private:
  std::uint32_t index_;  // first: it fits into Channel's padding
  ShardTransport& transport_;
  std::uint64_t address_hash_;  // 0: not counted
};

}  // namespace hubbub::transport
