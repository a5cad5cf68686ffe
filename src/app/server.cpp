#include "hubbub/app/server.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "hubbub/api/routes.hpp"
#include "hubbub/api/server_api.hpp"
#include "hubbub/app/logging.hpp"
#include "hubbub/app/settings_table.hpp"
#include "hubbub/base/clock.hpp"
#include "hubbub/base/log.hpp"
#include "hubbub/base/random.hpp"
#include "hubbub/broker/backend.hpp"
#include "hubbub/broker/memory_broker.hpp"
#include "hubbub/broker/redis/node.hpp"
#include "hubbub/broker/redis/redis_backend.hpp"
#include "hubbub/broker/retention.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/runtime/shard_pool.hpp"
#include "hubbub/transport/listener.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::app {

namespace {

unsigned shard_count(const Settings& settings) {
  if (settings.shards != 0) return static_cast<unsigned>(settings.shards);
  return std::clamp(std::thread::hardware_concurrency(), 1U, 256U);
}

void raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (before != limit.rlim_max && ::setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  spdlog::info("open files: at most {} (was {})", limit.rlim_cur, before);
}

hub::Limits hub_limits(const Settings& settings) {
  hub::Limits limits;
  limits.server_id = settings.server_id.empty() ? base::to_hex(base::random_u64()) : settings.server_id;
  limits.heartbeat_ms = settings.heartbeat.count();
  limits.frames_per_second = settings.frames_per_second;
  limits.bytes_per_second = settings.bytes_per_second;
  limits.max_sessions_per_user = settings.max_sessions_per_user;
  limits.max_rooms_per_session = settings.max_rooms_per_session;
  limits.max_watches_per_session = settings.max_watches_per_session;
  limits.out_queue_bytes = settings.out_queue_bytes;
  limits.slow_consumer_grace_ms = settings.slow_consumer_grace.count();
  limits.typing_ttl_ms = settings.typing_ttl.count();
  limits.joined_members_max = settings.joined_members_max;
  limits.room_announce_max = settings.room_announce_max;
  limits.last_seen_max = settings.last_seen_max;
  limits.reports_max = settings.reports_max;
  limits.compression_min_bytes = settings.compression_min_bytes;
  limits.compression_level = static_cast<int>(settings.compression_level);
  return limits;
}

transport::TransportOptions transport_options(const Settings& settings) {
  transport::TransportOptions options;
  options.message_max_bytes = settings.message_max_bytes;
  options.http_header_max_bytes = settings.http_header_max_bytes;
  options.http_body_max_bytes = settings.http_body_max_bytes;
  options.handshake_timeout_ms = settings.handshake_timeout.count();
  options.http_idle_timeout_ms = settings.http_idle_timeout.count();
  options.heartbeat_ms = settings.heartbeat.count();
  options.close_timeout_ms = settings.close_timeout.count();
  options.out_queue_bytes = settings.out_queue_bytes;
  options.max_sessions = settings.max_sessions;
  options.max_connections_per_address = settings.max_connections_per_address;
  options.compression = settings.compression;
  options.sse_keepalive_ms = settings.sse_keepalive.count();
  options.sse_retry_ms = settings.sse_retry.count();
  options.session_linger_ms = settings.session_linger.count();
  options.poll_timeout_max_ms = settings.poll_timeout_max.count();
  return options;
}

api::ServerApiOptions api_options(const Settings& settings, unsigned shards) {
  api::ServerApiOptions options;
  options.keys = settings.api_keys;
  options.open_without_keys = std::all_of(settings.listen.begin(), settings.listen.end(), [](const std::string& text) {
    const auto address = parse_listen_address(text);
    return address && address->loopback;
  });
  options.idempotency_bytes = settings.idempotency_bytes / shards;
  options.idempotency_window_ms = settings.dedupe_window.count();
  options.page_max_bytes = settings.out_queue_bytes / 2;
  return options;
}

broker::MemoryBrokerLimits broker_limits(const Settings& settings, unsigned shards) {
  broker::MemoryBrokerLimits limits;
  limits.retain_count = settings.retain_count;
  limits.retain_age_ms = settings.retain_age.count();
  limits.retain_bytes = settings.retain_bytes;
  for (const std::string& rule : settings.retain) {
    limits.retain_rules.push_back(std::get<broker::RetentionRule>(broker::parse_retention_rule(rule)));  // was checked
  }
  limits.total_bytes = settings.broker_memory_bytes / shards;
  limits.dedupe_window_ms = settings.dedupe_window.count();
  limits.dedupe_max = settings.dedupe_max;
  return limits;
}

broker::redis::RedisBackendOptions redis_options(const Settings& settings) {
  broker::redis::RedisBackendOptions options;
  std::vector<std::string> urls = settings.redis_url;
  if (urls.empty()) urls.emplace_back("redis://127.0.0.1:6379");
  options.client = std::get<broker::redis::ClientOptions>(broker::redis::parse_redis_urls(urls));
  options.client.tls_ca_file = settings.redis_tls_ca;
  options.client.tls_cert_file = settings.redis_tls_cert;
  options.client.tls_key_file = settings.redis_tls_key;
  options.client.connect_timeout_ms = settings.redis_connect_timeout.count();
  options.client.wait_ms = settings.redis_wait.count();
  options.client.queue_bytes = settings.redis_queue_bytes;
  const broker::MemoryBrokerLimits same = broker_limits(settings, 1);
  options.limits = {.retain_count = same.retain_count,
                    .retain_age_ms = same.retain_age_ms,
                    .retain_bytes = same.retain_bytes,
                    .retain_rules = same.retain_rules,
                    .dedupe_window_ms = same.dedupe_window_ms};
  options.lease_ms = settings.node_lease.count();
  options.last_seen_ttl_ms = settings.last_seen_age.count();
  return options;
}

/// The whole server: what there is, in the order in which it is built; it is taken down in the opposite order.
class Server {
 public:
  explicit Server(const Settings& settings)
      : settings_(settings),
        pool_(shard_count(settings), settings.mailbox_max, clock_),
        manager_(pool_, hub_limits(settings),
                 [this](runtime::Shard& shard, broker::BrokerSink& sink, broker::PresenceSink& presence) {
                   return make_backend(shard, sink, presence);
                 }),
        context_{manager_, transport_options(settings)},
        api_(context_, api_options(settings, pool_.size())),
        signals_(main_io_, SIGTERM, SIGINT, SIGHUP),
        stop_timer_(main_io_) {
    api::add_routes(api_, settings.test_echo);
    for (unsigned i = 0; i < pool_.size(); ++i) {
      transports_.push_back(std::make_unique<transport::ShardTransport>(context_, pool_[i]));
      context_.transports.push_back(transports_.back().get());
      pool_[i].post([i] { base::set_thread_shard(static_cast<int>(i)); });
    }
  }

  ~Server() { pool_.stop(); }

  std::unique_ptr<broker::Backend> make_backend(runtime::Shard& shard, broker::BrokerSink& sink,
                                                broker::PresenceSink& presence) {
    if (settings_.broker == "redis") {
      return std::make_unique<broker::redis::RedisBackend>(shard.io(), clock_, redis_node_, shard.index(),
                                                           redis_options(settings_), sink, &presence);
    }
    return std::make_unique<broker::LocalBackend>(
        std::make_unique<broker::MemoryBroker>(clock_, broker_limits(settings_, pool_.size()), sink));
  }

  bool bind() {
    for (const std::string& text : settings_.listen) {
      const auto address = parse_listen_address(text);
      auto& listener = listeners_.emplace_back(std::make_unique<transport::Listener>(
          pool_, context_, [this](unsigned index, int fd, std::uint64_t address_hash) {
            pool_[index].post([t = transports_[index].get(), fd, address_hash] { t->accept(fd, address_hash); });
          }));
      if (const auto error = listener->bind(address->address, address->port)) {
        std::fprintf(stderr, "hubbub: cannot listen on %s: %s\n", text.c_str(), error.message().c_str());
        return false;
      }
    }
    return true;
  }

  void run() {
    spdlog::info("hubbub " HUBBUB_VERSION ", server {}, {} shards, broker {}", manager_.limits().server_id,
                 pool_.size(), settings_.broker);
    warn_of_small_retention();
    for (const auto& listener : listeners_) listener->start();
    wait_for_signal();
    pool_.start();
    for (const auto& listener : listeners_) spdlog::info("listening on {}", listener->address_text());
    main_io_.run();
    pool_.stop();
    // The signal set restores the default action when it goes; a second SIGTERM must not turn exit 0 into a kill.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    spdlog::info("stopped");
  }

 private:
  void warn_of_small_retention() const {
    const auto limits = broker_limits(settings_, pool_.size());
    const auto warn = [&](std::string_view what, std::size_t count, std::size_t bytes) {
      if (count == 0 || bytes >= settings_.message_max_bytes + 1024) return;
      spdlog::warn("{} is smaller than the largest message: such a message will not be kept", what);
    };
    warn("retain_bytes", limits.retain_count, limits.retain_bytes);
    for (std::size_t i = 0; i < limits.retain_rules.size(); ++i) {
      const broker::RetentionRule& rule = limits.retain_rules[i];
      if (!rule.bytes) continue;
      warn(fmt::format("bytes= of the rule {}", shown_value(settings_.retain[i])),
           rule.count.value_or(limits.retain_count), *rule.bytes);
    }
  }

  void wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal == SIGHUP) {
        reopen_log();
      } else if (!context_.stopping.exchange(true)) {
        spdlog::info("signal {}: stopping, {} sessions", signal, manager_.session_count());
        begin_stop();
      } else {
        spdlog::warn("signal {}: not waiting for sessions to close", signal);
        return main_io_.stop();
      }
      wait_for_signal();
    });
  }

  void begin_stop() {
    manager_.begin_stop();
    pool_[0].post([this] {
      for (const auto& listener : listeners_) listener->close();
    });
    for (unsigned i = 0; i < pool_.size(); ++i) {
      pool_[i].post([t = transports_[i].get()] { t->begin_stop(); });
    }
    // What this node said of its users is over: the others take it back at once.
    manager_.leave([this] { left_.store(true); });
    stop_deadline_ms_ = clock_.steady_ms() + settings_.close_timeout.count() + 500;
    wait_for_connections();
  }

  void wait_for_connections() {
    std::size_t left = 0;
    for (unsigned i = 0; i < pool_.size(); ++i) left += pool_[i].connection_count().load();
    if ((left == 0 && left_.load()) || clock_.steady_ms() >= stop_deadline_ms_) {
      if (left != 0) spdlog::warn("{} connections did not close in time", left);
      return main_io_.stop();
    }
    stop_timer_.expires_after(std::chrono::milliseconds(10));
    stop_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) wait_for_connections();
    });
  }

  const Settings settings_;
  const base::SystemClock clock_;
  broker::redis::Node redis_node_;
  runtime::ShardPool pool_;
  hub::ConnectionManager manager_;
  transport::TransportContext context_;
  api::ServerApi api_;
  std::vector<std::unique_ptr<transport::ShardTransport>> transports_;
  std::vector<std::unique_ptr<transport::Listener>> listeners_;
  boost::asio::io_context main_io_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer stop_timer_;
  std::int64_t stop_deadline_ms_ = 0;
  std::atomic<bool> left_{false};
};

}  // namespace

int run_server(const Settings& settings) {
  raise_open_file_limit();  // each shard takes descriptors when it is built
  Server server(settings);
  if (!server.bind()) return 1;
  server.run();
  return 0;
}

}  // namespace hubbub::app
