#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hubbub::broker::redis {

enum class Topology : std::uint8_t { kSingle, kRing, kSentinel, kCluster };

struct Endpoint {
  std::string host;
  std::uint16_t port = 6379;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Where Redis is and how to speak with it.
struct ClientOptions {
  Topology topology = Topology::kSingle;
  std::vector<Endpoint> endpoints;  ///< the server, the ring's, the sentinels, or some of the Cluster
  std::string sentinel_master;      ///< the name of the master set
  std::string user, password;       ///< AUTH; empty: none
  std::string sentinel_user, sentinel_password;
  unsigned database = 0;  ///< SELECT; not in a Cluster
  bool tls = false;
  std::string tls_ca_file;                  ///< empty: the system's
  std::string tls_cert_file, tls_key_file;  ///< of this client; empty: none
  std::int64_t connect_timeout_ms = 2'000;
  std::int64_t wait_ms = 5'000;                  ///< how long a command waits for its answer, reconnects included
  std::size_t queue_bytes = 64UL * 1024 * 1024;  ///< of commands waiting or unanswered
  std::int64_t backoff_min_ms = 50;              ///< between connects: doubled each time, with full jitter
  std::int64_t backoff_max_ms = 2'000;
};

/// `redis://[user:password@]host[:port][/database]` (one, or several: a ring), `rediss://` with TLS,
/// `redis+sentinel://[user:password@]host:port[,host:port...]/master[/database]`,
/// `redis+cluster://[user:password@]host:port[,host:port...]`, both also as `rediss+...`. User and password are
/// percent-decoded. A text instead of options says what is wrong, without the password.
std::variant<ClientOptions, std::string> parse_redis_urls(const std::vector<std::string>& urls);
/// The URL with its password replaced, for logs and `print-config`.
std::string masked_redis_url(std::string_view url);

}  // namespace hubbub::broker::redis
