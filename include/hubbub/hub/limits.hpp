#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hubbub::hub {

/// What the domain needs of the configuration; docs/configuration.md explains each.
struct Limits {
  std::string server_id;
  std::int64_t heartbeat_ms = 30'000;
  std::size_t frames_per_second = 0;  // 0: off
  std::size_t bytes_per_second = 0;   // 0: off
  std::size_t max_sessions_per_user = 100;
  std::size_t max_rooms_per_session = 1000;
  std::size_t max_watches_per_session = 1000;
  std::size_t out_queue_bytes = 1024 * 1024;
  std::int64_t slow_consumer_grace_ms = 10'000;
  std::int64_t typing_ttl_ms = 3'000;
  std::size_t joined_members_max = 100;
  std::size_t room_announce_max = 1000;
  std::size_t last_seen_max = 100'000;
  std::size_t reports_max = 10'000;
  std::size_t compression_min_bytes = 512;
  int compression_level = 1;
};

}  // namespace hubbub::hub
