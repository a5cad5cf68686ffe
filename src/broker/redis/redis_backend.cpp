#include "hubbub/broker/redis/redis_backend.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/errors.hpp"
#include "hubbub/broker/redis/scripts.hpp"

namespace hubbub::broker::redis {

namespace {

namespace asio = boost::asio;

constexpr std::int64_t kTickMs = 1'000;
constexpr std::int64_t kBeatMs = 2'000;
constexpr std::int64_t kSweepClaimMs = 10'000;
constexpr std::size_t kSweepChunk = 100;

std::string nodes_key() { return Client::key(RedisPresence::rooms_route(), "nodes"); }
std::string claim_key(std::string_view lease) {
  return Client::key(RedisPresence::rooms_route(), std::string("sweep:").append(lease));
}

asio::awaitable<base::Result<Reply>> async_send(Client& client, std::string route, Command command) {
  return asio::async_initiate<decltype(asio::use_awaitable), void(base::Result<Reply>)>(
      [&client](auto handler, const std::string& to, Command what) {
        auto boxed = std::make_unique<decltype(handler)>(std::move(handler));
        client.send(to, std::move(what), [boxed = std::move(boxed)](base::Result<Reply> reply) {
          auto resume = std::move(*boxed);
          std::move(resume)(std::move(reply));
        });
      },
      asio::use_awaitable, std::move(route), std::move(command));
}

template <class... Arguments>
Command command_of(const Arguments&... arguments) {
  Command command(sizeof...(arguments));
  (command.add(std::string_view(arguments)), ...);
  return command;
}

}  // namespace

RedisBackend::RedisBackend(asio::io_context& io, const base::Clock& clock, Node& node, unsigned shard,
                           const RedisBackendOptions& options, BrokerSink& sink, PresenceSink* presence_sink)
    : io_(io),
      clock_(clock),
      node_(node),
      shard_(shard),
      options_(options),
      client_(io, options.client, scripts().all(), *this),
      broker_(client_, clock, options.limits, node.tag_text() + "." + std::to_string(shard), sink),
      bus_(client_, clock, node, shard, options.client.wait_ms),
      timer_(io) {
  if (presence_sink != nullptr) {
    presence_ = std::make_unique<RedisPresence>(client_, clock, node, options.last_seen_ttl_ms, *presence_sink);
    bus_.start();
  }
  tick();
}

RedisBackend::~RedisBackend() = default;

void RedisBackend::on_message(std::string_view channel, std::string_view payload) {
  using Kind = ChannelMessage::Kind;
  if (RedisBus::is_bus_channel(channel)) return bus_.on_message(payload);
  const auto message = parse_channel_message(payload);
  if (!message) return;
  if (RedisPresence::is_watch_channel(channel)) {
    if (presence_ && message->kind == Kind::kPresence) presence_->on_watch_message(*message);
    return;
  }
  const auto stream = stream_of(channel);
  if (!stream) return;
  switch (message->kind) {
    case Kind::kJoined:
    case Kind::kLeft:
    case Kind::kTyping:
      if (presence_ && stream->kind == StreamKind::kRoom) presence_->on_room_message(stream->id, *message);
      return;
    case Kind::kPresence:
      return;
    default:
      return broker_.on_message(*stream, *message);
  }
}

void RedisBackend::on_resubscribed(std::string_view channel) {
  if (RedisPresence::is_watch_channel(channel)) {
    if (presence_) presence_->on_watch_resubscribed(channel);
  } else if (const auto stream = stream_of(channel)) {
    broker_.on_resubscribed(*stream);
  }
}

void RedisBackend::tick() {
  ready_.store(client_.is_ready(), std::memory_order_relaxed);
  if (presence_) {
    presence_->tick();
    bus_.tick();
    if (shard_ == 0 && !leaving_ && clock_.steady_ms() >= next_beat_ms_) beat();
  }
  const std::int64_t beat_ms = std::min(kTickMs, std::max<std::int64_t>(options_.lease_ms / 4, 10));
  timer_.expires_after(std::chrono::milliseconds(beat_ms));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

// -------------------------------------------------------------------------------------------------------------- lease

void RedisBackend::beat() {
  next_beat_ms_ = clock_.steady_ms() + std::min(kBeatMs, options_.lease_ms / 4);
  const std::string lease = node_.lease();
  Command command = Command::eval(scripts().heartbeat, 1, 2);
  command.add(nodes_key()).add(lease).add(options_.lease_ms);
  client_.send(RedisPresence::rooms_route(), std::move(command),
               [this, lease = std::string(lease)](const base::Result<Reply>& reply) {
                 if (!reply) {
                   steady_since_ms_ = -1;
                 } else {
                   on_beat(*reply, lease);
                 }
               });
}

void RedisBackend::on_beat(const Reply& reply, const std::string& lease) {
  if (leaving_ || lease != node_.lease()) return;
  const auto texts = [](const Reply& list) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].text());
    return out;
  };
  std::vector<std::string> alive = texts(reply[1]);
  const std::vector<std::string> over = texts(reply[2]);
  const bool lost = alive.empty();                             // it had run out, and is being taken back
  const bool unknown = reply[0].integer() == 0 && had_lease_;  // Redis has lost its data
  had_lease_ = true;
  if (lost || unknown) {
    spdlog::warn("redis: the lease {} {}; saying again who is here", lease, lost ? "ran out" : "is not known any more");
    had_lease_ = false;
    node_.begin_next_lease();
    next_beat_ms_ = 0;
    steady_since_ms_ = -1;
    return;
  }
  const std::int64_t now_ms = clock_.steady_ms();
  if (steady_since_ms_ < 0) steady_since_ms_ = now_ms;
  // When Redis was away, so it was for all, and each is given the time to come back before it is taken for dead.
  const bool sure = now_ms - steady_since_ms_ >= std::min<std::int64_t>(options_.lease_ms / 2, 10'000);
  if (!sure) alive.insert(alive.end(), over.begin(), over.end());
  node_.set_leases(std::move(alive), sure ? over : std::vector<std::string>{});
  if (!sure) return;
  for (const std::string& each : over) {
    if (!sweeping_.insert(each).second) continue;
    asio::co_spawn(io_, sweep(each), asio::detached);
  }
}

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 with sanitizers takes the operators of Asio's coroutine frames, which are a pair, for a mismatch.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

/// Takes back what a node that is no more had said. Whoever else tries finds the claim; each step does its work once,
/// whoever does it, so a claim that ends too early does no harm.
asio::awaitable<void> RedisBackend::sweep(std::string lease) {
  const std::string route = RedisPresence::rooms_route();
  const std::string claim = claim_key(lease);
  const std::string claim_ms = std::to_string(kSweepClaimMs);
  const std::string chunk = std::to_string(kSweepChunk);
  std::size_t users = 0;
  std::size_t rooms = 0;
  bool failed = false;
  const auto claimed =
      co_await async_send(client_, route, command_of("SET", claim, node_.tag_text(), "NX", "PX", claim_ms));
  if (!claimed || claimed->is_nil()) {
    sweeping_.erase(lease);
    co_return;
  }
  for (bool more = true; more && !failed;) {
    const auto list =
        co_await async_send(client_, route, command_of("SRANDMEMBER", RedisPresence::rooms_key(lease), chunk));
    failed = !list;
    more = list && list->size() != 0;
    for (std::size_t i = 0; more && !failed && i < list->size(); ++i) {
      const std::string channel((*list)[i].text());
      for (bool members = true; members && !failed;) {
        const auto left = co_await async_send(
            client_, channel, RedisPresence::leave_command(client_.publish_verb(), channel, lease, kSweepChunk, {}));
        failed = !left;
        members = left && left->integer() > 0;
      }
      if (failed) break;
      ++rooms;
      failed = !co_await async_send(client_, route, command_of("SREM", RedisPresence::rooms_key(lease), channel));
    }
    co_await async_send(client_, route, command_of("PEXPIRE", claim, claim_ms));
  }
  for (unsigned part = 0; part < RedisPresence::kUserParts && !failed; ++part) {
    const std::string part_route = RedisPresence::part_route(part);
    for (bool more = true; more && !failed;) {
      const auto list = co_await async_send(
          client_, part_route, command_of("SRANDMEMBER", RedisPresence::part_users_key(part, lease), chunk));
      failed = !list;
      more = list && list->size() != 0;
      for (std::size_t i = 0; more && !failed && i < list->size(); ++i) {
        ++users;
        failed = !co_await async_send(client_, part_route,
                                      RedisPresence::user_command(client_.publish_verb(), (*list)[i].text(), lease, 0,
                                                                  0, clock_.unix_ms(), options_.last_seen_ttl_ms, {}));
      }
      if (more) co_await async_send(client_, route, command_of("PEXPIRE", claim, claim_ms));
    }
  }
  if (!failed) {
    co_await async_send(client_, route, command_of("ZREM", nodes_key(), lease));
    spdlog::info("redis: node {} is no more: took back {} users and the members of {} rooms", lease, users, rooms);
  }
  co_await async_send(client_, route, command_of("DEL", claim));
  sweeping_.erase(lease);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

void RedisBackend::leave(base::InlineFunction<void()> done) {
  if (shard_ != 0 || !presence_ || leaving_) return done();
  leaving_ = true;
  Command command = Command::eval(scripts().heartbeat, 1, 2);
  command.add(nodes_key()).add(node_.lease()).add("0");
  client_.send(RedisPresence::rooms_route(), std::move(command),
               [done = std::make_unique<base::InlineFunction<void()>>(std::move(done))](const base::Result<Reply>&) {
                 (*done)();
               });
}

}  // namespace hubbub::broker::redis
