#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/protocol/ws_deflate.hpp"

namespace hubbub::hub {

/// How a transport wraps an event's JSON.
enum class Framing : std::uint8_t {
  kWebSocket,
  kWebSocketDeflate,
  kSse,
  kPoll  ///< the JSON and a comma
};
inline constexpr std::size_t kFramingCount = 4;

/// What happens to an event when its reader is slow.
enum class Lane : std::uint8_t {
  kKept,      ///< in a stream: gives way to a mark and is read back from there
  kEphemeral  ///< not kept (typing, presence, joins and leaves): only the newest of a key survives, or none
};

/// One event on its way to many sessions: encoded once, immutable, shared by shards.
struct Event {
  std::string json;
  std::string conflate_key;  ///< ephemeral events of the same key replace each other under pressure; empty: dropped
  std::uint64_t epoch = 0;   ///< of its stream
  std::uint64_t seq = 0;     ///< of its stream; 0 when it is not kept
  std::uint64_t exclude_session = 0;
  base::SharedString exclude_user;
  Lane lane = Lane::kKept;

  Event() = default;
  /// Whether all members of its topic are sent it.
  bool is_for_all() const { return exclude_session == 0 && exclude_user.empty(); }

  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { delete deflated_.load(std::memory_order_relaxed); }

  /// The JSON compressed for permessage-deflate: made by whoever asks first, then shared by all shards. [any thread]
  const std::string& deflated(protocol::Deflater& deflater) const;

 private:
  mutable std::atomic<const std::string*> deflated_{nullptr};
};

using EventRef = std::shared_ptr<const Event>;

/// Wraps JSON for one shard's transports. [shard]
class Framer {
 public:
  /// Below `deflate_min_bytes` compressing costs more than it saves. `level` as in zlib.
  Framer(std::size_t deflate_min_bytes, int level) : deflate_min_bytes_(deflate_min_bytes), deflater_(level) {}
  void append(std::string& out, Framing framing, const Event& event);
  void append(std::string& out, Framing framing, std::string_view json);

 private:
  std::size_t deflate_min_bytes_;
  protocol::Deflater deflater_;
  std::string scratch_;
};

}  // namespace hubbub::hub
