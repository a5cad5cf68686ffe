#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/memory_broker.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/runtime/shard_pool.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::test {

using Json = nlohmann::ordered_json;

struct TransportFixtureOptions {
  unsigned shards = 1;
  hub::Limits limits{.server_id = "n1"};
  broker::MemoryBrokerLimits broker{};
  transport::TransportOptions transport{};
};

/// The hub with its real transports on shards that the test turns by hand, all in its own thread and on its own clock.
/// Sockets are socket pairs, so that the kernel's buffers, partial writes and ends of connections are real.
class TransportFixture {
 public:
  explicit TransportFixture(const TransportFixtureOptions& options = {});
  ~TransportFixture();

  /// The client's end of a new connection to `shard`.
  int connect(unsigned shard);
  void turn(unsigned shard) { pool[shard].turn_for_test(); }
  /// Turns all shards until whatever is under way has come to rest.
  void settle();
  void advance_ms(std::int64_t ms);
  /// Stores a message in a room, or in a user's inbox.
  void publish(broker::StreamKey stream, const Json& content);
  /// What the stream of this key still has.
  broker::Page page(const broker::StreamKey& stream);

  base::ManualClock clock;
  runtime::ShardPool pool;
  std::vector<broker::Broker*> brokers;
  hub::ConnectionManager manager;
  transport::TransportContext context;
  std::vector<std::unique_ptr<transport::ShardTransport>> transports;
};

/// The client's end of a socket: everything that has come, and what it has been taken apart into.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { close(); }

  void send(std::string_view bytes);
  /// Takes at most `max` bytes of what has come.
  void read(std::size_t max = SIZE_MAX);
  void close();
  bool at_end() const { return at_end_; }
  std::string& bytes() { return bytes_; }

 private:
  int fd_ = -1;
  bool at_end_ = false;
  std::string bytes_;
};

/// Takes one whole HTTP response with a length off `bytes`; false when it is not whole yet.
struct Response {
  int status = 0;
  std::string head;
  std::string body;
};
bool take_response(std::string& bytes, Response& response);
/// Takes a header that ends with an empty line.
bool take_head(std::string& bytes, std::string& head);

/// Takes one block of an event stream.
struct SseBlock {
  std::string event = "message";
  std::string id;
  bool has_id = false;
  std::string data;
  bool has_data = false;
};
bool take_sse_block(std::string& bytes, SseBlock& block);

/// Takes one unfragmented, uncompressed frame of a server.
bool take_frame(std::string& bytes, unsigned& opcode, std::string& payload);
std::string client_frame(std::string_view text);
std::string websocket_request(std::string_view target);

}  // namespace hubbub::test
