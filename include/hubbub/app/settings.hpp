#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hubbub::app {

// Everything that can be configured, with its default. What a setting means, its range and its names on the
// command line, in the environment and in the file are one row each in settings_table.cpp.
struct Settings {
  using Millis = std::chrono::milliseconds;

  // Node
  std::vector<std::string> listen{"127.0.0.1:8080"};
  std::size_t shards = 0;  // 0: one a core
  std::string server_id;   // empty: random
  bool insecure_open = false;
  std::string broker = "memory";
  std::vector<std::string> api_keys;  // none: the API is for loopback alone
  bool test_echo = false;

  // Logging
  std::string log_level = "info";
  std::string log_format = "text";
  std::string log_file;  // empty: stderr

  // Connections
  std::size_t message_max_bytes = 64 * 1024;
  std::size_t http_header_max_bytes = 8 * 1024;
  std::size_t http_body_max_bytes = 1024 * 1024;
  Millis handshake_timeout{10'000};
  Millis http_idle_timeout{60'000};
  Millis heartbeat{30'000};
  Millis close_timeout{5'000};
  std::size_t frames_per_second = 100'000;            // 0: off
  std::size_t bytes_per_second = 64U * 1024U * 1024;  // 0: off
  std::size_t out_queue_bytes = 1024 * 1024;
  Millis slow_consumer_grace{10'000};
  bool compression = true;
  std::size_t compression_min_bytes = 512;
  std::size_t compression_level = 1;

  // SSE and polling
  Millis sse_keepalive{30'000};
  Millis sse_retry{2'000};
  Millis session_linger{30'000};
  Millis poll_timeout_max{120'000};

  // Sessions and rooms
  std::size_t max_sessions = 1'000'000;
  std::size_t max_sessions_per_user = 100;
  std::size_t max_connections_per_address = 0;  // 0: off
  std::size_t max_rooms_per_session = 1000;
  std::size_t max_watches_per_session = 1000;
  Millis typing_ttl{3'000};
  std::size_t joined_members_max = 100;
  std::size_t room_announce_max = 1000;
  std::size_t last_seen_max = 100'000;
  std::size_t reports_max = 10'000;
  std::size_t idempotency_bytes = 64U * 1024U * 1024U;

  // Streams
  std::size_t retain_count = 1000;
  Millis retain_age{24 * 3'600'000};
  std::size_t retain_bytes = 1024 * 1024;                  // of one stream
  std::vector<std::string> retain;                         // rules for some streams, broker/retention.hpp
  std::size_t broker_memory_bytes = 256U * 1024U * 1024U;  // of all streams
  Millis dedupe_window{300'000};
  std::size_t dedupe_max = 1000;  // of one stream

  // Redis
  std::vector<std::string> redis_url;  // none: redis://127.0.0.1:6379
  std::string redis_tls_ca;
  std::string redis_tls_cert;
  std::string redis_tls_key;
  Millis redis_connect_timeout{2'000};
  Millis redis_wait{5'000};
  std::size_t redis_queue_bytes = 64U * 1024U * 1024U;
  Millis node_lease{60'000};
  Millis last_seen_age{30LL * 24 * 3'600'000};

  // Runtime
  std::size_t mailbox_max = 65'536;

  friend bool operator==(const Settings&, const Settings&) = default;
};

}  // namespace hubbub::app
