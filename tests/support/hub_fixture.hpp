#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/base/function.hpp"
#include "hubbub/broker/memory_broker.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/ws_deflate.hpp"
#include "hubbub/runtime/out_queue.hpp"
#include "hubbub/runtime/shard_pool.hpp"

namespace hubbub::test {

using Json = nlohmann::ordered_json;

/// A command of `type` about a room.
Json join(std::string_view room);
Json leave(std::string_view room);
Json say(std::string_view room, const Json& content);
Json direct(std::string_view to_user, const Json& content);

/// One event in one line, what varies without meaning (times, ids of sessions) left out: `message lobby 3 ann "hi"`.
std::string brief(const Json& event);

/// What a client is expected to have heard.
template <class... Line>
std::vector<std::string> lines(const Line&... line) {
  return {std::string(line)...};
}

/// A transport without a socket: what a WebSocketConnection and its Channel are to a session, with the test in the
/// kernel's place. It takes everything until it is told to block.
class FakeOutbound final : public hub::Outbound {
 public:
  FakeOutbound(runtime::Shard& shard, hub::Framer& framer, hub::Framing framing)
      : shard_(shard), framer_(framer), framing_(framing) {}

  void deliver(const runtime::BatchRef& batch, std::uint32_t begin) override;
  void cut(const runtime::Batch* batch) override { queue_.close_open_slice(batch); }
  void send(std::string_view json) override;
  void close(protocol::CloseCode code) override;
  void hold_input(bool on) override {
    input_held = on;
    times_held += on ? 1 : 0;
  }
  std::size_t queued_bytes() const override { return queue_.bytes(); }
  bool is_blocked() const override { return blocked_; }

  /// The end of a turn.
  void flush(hub::Session& session);
  /// The kernel takes `bytes` more and then no more.
  void block(std::size_t bytes = 0) { room_ = bytes; }
  /// The peer has read: there is room for `bytes` more.
  void make_room(hub::Session& session, std::size_t bytes = kNoEnd);

  /// What has come out, decoded; `wire` is the bytes themselves.
  std::vector<Json> events;
  std::string wire;
  std::optional<protocol::CloseCode> closed;
  std::size_t calls = 0;
  std::size_t deliver_calls = 0;
  std::size_t compressed_frames = 0;
  std::size_t most_queued = 0;  ///< bytes, ever
  std::size_t times_held = 0;
  bool input_held = false;

  static constexpr std::size_t kNoEnd = std::numeric_limits<std::size_t>::max();

 private:
  void transmit(hub::Session& session);
  void decode();

  runtime::Shard& shard_;
  hub::Framer& framer_;
  const hub::Framing framing_;
  runtime::OutQueue queue_;
  protocol::Inflater inflater_;
  std::size_t room_ = kNoEnd;
  std::size_t decoded_ = 0;
  bool blocked_ = false;
};

/// One session and its end of the line.
struct Client {
  std::string user;
  unsigned shard = 0;
  std::unique_ptr<FakeOutbound> outbound;
  hub::Session* session = nullptr;  ///< null before it is opened and after it ended
  std::string session_id;           ///< as `connected` told it

  /// What has come since the last call.
  std::vector<Json> take() { return std::exchange(outbound->events, {}); }
  /// As take, each event by `brief`.
  std::vector<std::string> heard();
  /// As heard, only events whose brief starts with `prefix`; the others are gone too.
  std::vector<std::string> heard(std::string_view prefix);
};

/// What may be wrong with the brokers of a hub.
struct BrokerFaults {
  bool down = false;  ///< whatever is asked fails
  bool slow = false;  ///< answers wait for release()
  std::vector<base::InlineFunction<void(), 512>> waiting;
  /// On the shard's thread.
  void release() {
    for (auto& answer : std::exchange(waiting, {})) answer();
  }
};

struct HubOptions {
  unsigned shards = 1;
  hub::Limits limits{.server_id = "n1"};
  broker::MemoryBrokerLimits broker{};
  std::size_t mailbox_max = 65536;
  BrokerFaults* faults = nullptr;
};

/// The hub on shards that the test drives by hand, all of them in its own thread and on its own clock. What a shard
/// does happens in turn(); nothing ever waits.
class HubFixture {
 public:
  explicit HubFixture(HubOptions options = {});

  /// Opens a session; `connected` comes when the shards have turned. Clients go round the shards unless told.
  Client& open(std::string user, std::optional<unsigned> shard = {}, hub::Framing framing = hub::Framing::kWebSocket);
  /// As open, settled; `connected` is taken.
  Client& connect(std::string user, std::optional<unsigned> shard = {},
                  hub::Framing framing = hub::Framing::kWebSocket);
  /// The connection ends.
  void end(Client& client);
  /// The session gets `text` from its client in its shard's next turn.
  void send_text(Client& client, std::string text);
  void send(Client& client, const Json& command) { send_text(client, command.dump()); }
  /// Sends, settles and gives what the client heard.
  std::vector<std::string> tell(Client& client, const Json& command);

  /// One turn of a shard, with the flush of its clients.
  void turn(unsigned shard);
  /// Turns all shards until nothing comes of it.
  void settle();
  void advance_ms(std::int64_t ms);

  /// Of room, user or whatever: an id whose home is `shard`.
  std::string id_at_home(unsigned shard, std::string_view prefix = "r");
  unsigned home_of(std::string_view id) const { return manager.home_index(base::SharedString(id)); }
  hub::Counters& counters(unsigned shard) { return manager.sessions(pool[shard]).counters(); }
  /// Sum of one counter over all shards.
  std::uint64_t count(hub::Counter hub::Counters::*counter);

  base::ManualClock clock;
  runtime::ShardPool pool;
  hub::ConnectionManager manager;
  std::deque<Client> clients;

 private:
  std::vector<std::vector<Client*>> by_shard_;
  unsigned next_shard_ = 0;
};

}  // namespace hubbub::test
