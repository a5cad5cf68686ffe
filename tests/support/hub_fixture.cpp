#include "support/hub_fixture.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/system/errc.hpp>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace hubbub::test {

namespace {

// The longest way on which nobody hears anything: session, recipient's home, sender's home, session (the sender's copy
// of a direct message), and as many again for a refill that follows from it.
constexpr int kQuietRounds = 8;
constexpr int kMaxRounds = 100'000;

std::string text_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

/// A MemoryBroker that fails, or answers late, when told to.
class FaultyBroker final : public broker::Broker {
 public:
  FaultyBroker(std::unique_ptr<broker::Broker> broker, BrokerFaults& faults)
      : broker_(std::move(broker)), faults_(faults) {}

  void publish(const broker::StreamKey& key, broker::Publication publication, PublishDone done) override {
    run<broker::Published>(
        std::move(done), [&](PublishDone answer) { broker_->publish(key, std::move(publication), std::move(answer)); });
  }
  void subscribe(const broker::StreamKey& key, SubscribeDone done) override {
    run<broker::Position>(std::move(done), [&](SubscribeDone answer) { broker_->subscribe(key, std::move(answer)); });
  }
  void unsubscribe(const broker::StreamKey& key) override { broker_->unsubscribe(key); }
  void read(const broker::StreamKey& key, const broker::ReadRange& range, ReadDone done) override {
    run<broker::Page>(std::move(done), [&](ReadDone answer) { broker_->read(key, range, std::move(answer)); });
  }
  void erase(const broker::StreamKey& key, EraseDone done) override {
    run<broker::Position>(std::move(done), [&](EraseDone answer) { broker_->erase(key, std::move(answer)); });
  }
  void sweep() override { broker_->sweep(); }

 private:
  template <class T, class Done, class F>
  void run(Done done, F&& ask) {
    if (!faults_.slow) {
      if (!faults_.down) return ask(std::move(done));
      return done(boost::system::errc::make_error_code(boost::system::errc::not_connected));
    }
    base::Result<T> result = boost::system::errc::make_error_code(boost::system::errc::not_connected);
    if (!faults_.down) ask([&result](base::Result<T> answer) { result = std::move(answer); });
    faults_.waiting.emplace_back([done = std::move(done), result = std::make_shared<base::Result<T>>(std::move(
                                                              result))]() mutable { done(std::move(*result)); });
  }

  std::unique_ptr<broker::Broker> broker_;
  BrokerFaults& faults_;
};

}  // namespace

Json join(std::string_view room) { return {{"type", "join_room"}, {"room_id", room}}; }
Json leave(std::string_view room) { return {{"type", "leave_room"}, {"room_id", room}}; }
Json say(std::string_view room, const Json& content) {
  return {{"type", "room_message"}, {"room_id", room}, {"content", content}};
}
Json direct(std::string_view to_user, const Json& content) {
  return {{"type", "direct_message"}, {"to_user", to_user}, {"content", content}};
}

std::string brief(const Json& event) {
  static constexpr std::array kUntold = {"type",        "epoch",     "timestamp",    "session_id",
                                         "session_key", "server_id", "heartbeat_ms", "from_session",
                                         "last_seen",   "message",   "cursor"};
  const std::string type = event.value("type", "?");
  const bool stored = type == "message" || type == "direct_message";
  std::string line = type;
  for (const auto& [key, value] : event.items()) {
    if (std::find(kUntold.begin(), kUntold.end(), key) != kUntold.end() || (stored && key == "id")) continue;
    if (key == "messages") {
      line += " [";
      for (const Json& message : value) line += (line.back() == '[' ? "" : ", ") + brief(message);
      line += "]";
    } else if (key == "members") {
      auto members = value.get<std::vector<std::string>>();
      std::sort(members.begin(), members.end());
      line += " [";
      for (const std::string& member : members) line += (line.back() == '[' ? "" : ",") + member;
      line += "]";
    } else if (key == "sessions" || key == "count") {
      line += " " + key + "=" + value.dump();
    } else if (value.is_boolean()) {
      line += " " + std::string(value.get<bool>() ? "" : "not ") + key;
    } else {
      line += " " + text_of(event, key.c_str());
    }
  }
  return line;
}

// ------------------------------------------------------------------------------------------------------- FakeOutbound

void FakeOutbound::deliver(const runtime::BatchRef& batch, std::uint32_t begin) {
  ++calls;
  ++deliver_calls;
  if (!closed) queue_.push(batch, begin);
}

void FakeOutbound::send(std::string_view json) {
  ++calls;
  if (closed) return;
  std::string frame;
  framer_.append(frame, framing_, json);
  queue_.append(frame, shard_.batches());
  most_queued = std::max(most_queued, queue_.bytes());
}

void FakeOutbound::close(protocol::CloseCode code) {
  ++calls;
  if (closed) return;
  if (blocked_) queue_.drop_unsent();
  closed = code;
}

void FakeOutbound::flush(hub::Session& session) {
  if (queue_.empty()) return;
  blocked_ ? queue_.settle_waiting(shard_.batches()) : queue_.settle();
  most_queued = std::max(most_queued, queue_.bytes());
  if (blocked_) {
    session.blocked();
  } else {
    transmit(session);
  }
}

void FakeOutbound::make_room(hub::Session& session, std::size_t bytes) {
  room_ = bytes;
  if (!blocked_) return;
  ++calls;
  transmit(session);
}

void FakeOutbound::transmit(hub::Session& session) {
  bool progress = false;
  while (!queue_.empty()) {
    std::array<iovec, 4> pieces;
    const std::size_t count = queue_.gather(pieces.data(), pieces.size());
    if (count == 0) {
      queue_.clear();
      break;
    }
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t n = std::min(room_, pieces[i].iov_len);
      wire.append(static_cast<const char*>(pieces[i].iov_base), n);
      taken += n;
      if (room_ != kNoEnd) room_ -= n;
      if (n < pieces[i].iov_len) break;
    }
    if (taken == 0) break;
    progress = true;
    queue_.consume(taken);
  }
  decode();
  const bool was_blocked = std::exchange(blocked_, !queue_.empty());
  if (blocked_) {
    if (!was_blocked) queue_.unpin(shard_.batches());
    if (progress && was_blocked) session.progressed();
    session.blocked();
  } else if (was_blocked || input_held) {
    session.drained();
  }
}

void FakeOutbound::decode() {
  for (;;) {
    const std::string_view left = std::string_view(wire).substr(decoded_);
    if (left.size() < 2) return;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(left[i]); };
    std::size_t header = 2;
    std::uint64_t size = byte(1);
    if (size > 127) throw std::runtime_error("a server's frame must not be masked");
    const std::size_t length_bytes = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (left.size() < header + length_bytes) return;
    if (length_bytes != 0) {
      size = 0;
      for (std::size_t i = 0; i < length_bytes; ++i) size = size << 8 | byte(header + i);
      header += length_bytes;
    }
    if (left.size() < header + size) return;
    const std::string_view payload = left.substr(header, size);
    std::string text(payload);
    if ((byte(0) & ~0x40U) != 0x81) throw std::runtime_error("not one whole text frame");
    if ((byte(0) & 0x40) != 0) {
      ++compressed_frames;
      text.clear();
      if (inflater_.inflate(payload, text, 64 << 20) != protocol::Inflater::Result::kOk) {
        throw std::runtime_error("corrupt deflate");
      }
    }
    events.push_back(Json::parse(text));
    decoded_ += header + size;
  }
}

// ------------------------------------------------------------------------------------------------------------- Client

std::vector<std::string> Client::heard() { return heard({}); }

std::vector<std::string> Client::heard(std::string_view prefix) {
  std::vector<std::string> lines;
  for (const Json& event : take()) {
    std::string line = brief(event);
    if (line.starts_with(prefix)) lines.push_back(std::move(line));
  }
  return lines;
}

// --------------------------------------------------------------------------------------------------------- HubFixture

HubFixture::HubFixture(HubOptions options)
    : pool(options.shards, options.mailbox_max, clock),
      manager(pool, options.limits,
              [this, &options](runtime::Shard&, broker::BrokerSink& sink, broker::PresenceSink&) {
                std::unique_ptr<broker::Broker> made =
                    std::make_unique<broker::MemoryBroker>(clock, options.broker, sink);
                if (options.faults != nullptr) made = std::make_unique<FaultyBroker>(std::move(made), *options.faults);
                return std::make_unique<broker::LocalBackend>(std::move(made));
              }),
      by_shard_(options.shards) {}

Client& HubFixture::open(std::string user, std::optional<unsigned> shard, hub::Framing framing) {
  const unsigned index = shard.value_or(next_shard_++ % pool.size());
  Client& client = clients.emplace_back();
  client.user = std::move(user);
  client.shard = index;
  hub::SessionShard& side = manager.sessions(pool[index]);
  client.outbound = std::make_unique<FakeOutbound>(pool[index], side.framer(), framing);
  by_shard_[index].push_back(&client);
  pool[index].post([&client, &side, framing] {
    client.session = &side.open(base::SharedString(client.user), framing, *client.outbound);
  });
  return client;
}

Client& HubFixture::connect(std::string user, std::optional<unsigned> shard, hub::Framing framing) {
  Client& client = open(std::move(user), shard, framing);
  settle();
  const std::vector<Json> events = client.take();
  if (events.empty() || events.front().value("type", "") != "connected") {
    throw std::runtime_error(client.user + " was not connected");
  }
  client.session_id = events.front().value("session_id", "");
  return client;
}

void HubFixture::end(Client& client) {
  pool[client.shard].post([&client] {
    if (client.session != nullptr) std::exchange(client.session, nullptr)->closed();
  });
}

void HubFixture::send_text(Client& client, std::string text) {
  pool[client.shard].post([&client, text = std::move(text)] {
    if (client.session != nullptr && !client.outbound->closed) client.session->receive(text);
  });
}

std::vector<std::string> HubFixture::tell(Client& client, const Json& command) {
  send(client, command);
  settle();
  return client.heard();
}

void HubFixture::turn(unsigned shard) {
  pool[shard].turn_for_test();
  for (Client* client : by_shard_[shard]) {
    if (client->session != nullptr) client->outbound->flush(*client->session);
  }
}

void HubFixture::settle() {
  std::size_t calls = 0;
  int quiet = 0;
  for (int round = 0; quiet < kQuietRounds; ++round) {
    if (round == kMaxRounds) throw std::runtime_error("the hub does not come to rest");
    for (unsigned i = 0; i < pool.size(); ++i) turn(i);
    std::size_t now = 0;
    for (const Client& client : clients) now += client.outbound->calls;
    quiet = now == calls ? quiet + 1 : 0;
    calls = now;
  }
}

void HubFixture::advance_ms(std::int64_t ms) {
  clock.advance_ms(ms);
  settle();
}

std::string HubFixture::id_at_home(unsigned shard, std::string_view prefix) {
  for (int i = 0;; ++i) {
    std::string id = std::string(prefix) + std::to_string(i);
    if (home_of(id) == shard) return id;
  }
}

std::uint64_t HubFixture::count(hub::Counter hub::Counters::*counter) {
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < pool.size(); ++i) sum += (counters(i).*counter).get();
  return sum;
}

}  // namespace hubbub::test
