#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "hubbub/base/compact_vector.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/hub/event.hpp"
#include "hubbub/runtime/batch.hpp"

namespace hubbub::hub {

class Session;

/// What a session can be a member of.
enum class TopicKind : std::uint8_t {
  kRoom,   ///< a room's events
  kInbox,  ///< what is addressed to the session's user
  kWatch   ///< presence of one user, for those who watch them
};
inline constexpr std::size_t kTopicKindCount = 3;

/// The frames that a topic's members are sent in this turn, one batch a framing.
struct OpenBatches {
  Lane lane = Lane::kKept;
  std::array<runtime::BatchRef, kFramingCount> batch;
};

/// One shard's members of a room, an inbox or a watch. The home shard of its id gives the order; here it is only
/// fanned out. [shard]
struct Topic {
  struct Member {
    Session* session;
    std::uint32_t slot;  ///< index in the session's memberships
  };

  Topic(TopicKind topic_kind, base::SharedString topic_id) : id(std::move(topic_id)), kind(topic_kind) {}

  base::SharedString id;
  std::uint64_t epoch = 0;            ///< of the stream, known with the first attach
  std::uint64_t last_seq = 0;         ///< newest event of which this shard knows; live members have all up to it
  std::unique_ptr<OpenBatches> open;  ///< only between the first event of a turn and its flush
  /// [0, live) are sent events; the rest read from the stream first. Nearly every inbox and watch has one member.
  base::CompactVector<Member> members;
  std::uint32_t live = 0;
  std::uint32_t memberships : 29 = 0;  ///< of any state; the topic goes with the last
  TopicKind kind : 2;
  bool listed : 1 = false;  ///< in its shard's list of topics with open batches
};
static_assert(sizeof(Topic) <= 72, "the next larger heap block; each user has one, and each room");

}  // namespace hubbub::hub
