#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/broker/broker.hpp"
#include "hubbub/hub/session.hpp"
#include "hubbub/protocol/errors.hpp"

// What the session side and the home side of the ConnectionManager say to each other. Each crosses as one mailbox task
// that owns it; nothing in them is shared but immutable reference-counted strings and events.
namespace hubbub::hub {

/// Who asked, and how to answer: `id` is the command's raw `id`, empty when there was none. `call` names a command that
/// came by HTTP: its answer goes there and not to the session's own stream, and there always is one.
struct Asker {
  SessionId session = 0;
  std::string id{};
  std::uint64_t call = 0;
  bool heavy = false;  ///< counted in its session until it is answered: each must be, also if with nothing
  bool wants_answer() const { return !id.empty() || call != 0; }
};

/// A session wants to be a member of a topic.
struct AttachRequest {
  Asker asker;
  TopicKind kind = TopicKind::kRoom;
  base::SharedString topic;
  base::SharedString user;
  std::uint64_t attempt = 0;             ///< echoed, so that a stale answer is recognised
  bool already = false;                  ///< it is one: answer, but count nothing
  std::optional<std::uint64_t> since{};  ///< kRoom, kInbox: recover what follows
  std::string epoch{};                   ///< of `since`; empty: not said
  std::string cursor{};                  ///< kInbox: where the session goes on from; `connected` says it again
  std::size_t member_count = 0;          ///< kRoom: on all nodes, with some of their names, once asked
  std::vector<std::string> member_names{};
  bool lingers = false;  ///< kInbox: the session outlives its connection, so its cursor names it
};

struct Attached {
  SessionId session = 0;
  TopicKind kind = TopicKind::kRoom;
  base::SharedString topic;
  std::uint64_t attempt = 0;
  std::uint64_t call = 0;  ///< of the asker
  bool heavy = false;      ///< of the asker
  bool already = false;
  bool refused = false;                         ///< kInbox: max_sessions_per_user
  std::uint64_t epoch = 0;                      ///< of the stream
  std::uint64_t seq = 0;                        ///< its head at this point of its order
  std::optional<std::uint64_t> replay_after{};  ///< read the stream from here before going live
  std::string json{};                           ///< told to the session first; empty: nothing
  std::optional<protocol::ErrorCode> error{};   ///< it did not become a member
};

struct DetachRequest {
  SessionId session = 0;
  TopicKind kind = TopicKind::kRoom;
  base::SharedString topic;
  base::SharedString user;
  std::string ack{};       ///< json for the asker, once done
  std::uint64_t call = 0;  ///< of the asker
};

struct PublishRequest {
  Asker asker;
  base::SharedString room;     ///< room_message
  base::SharedString to_user;  ///< direct_message
  base::SharedString from;
  broker::Publication publication;
};

struct HistoryRequest {
  Asker asker;
  broker::StreamKey stream;
  broker::ReadRange range;
};

struct RefillRequest {
  SessionId session = 0;
  TopicKind kind = TopicKind::kRoom;
  base::SharedString topic;
  std::uint64_t after_seq = 0;
  std::uint64_t epoch = 0;  ///< of after_seq
  std::size_t max_bytes = 0;
};

struct Refilled {
  SessionId session = 0;
  TopicKind kind = TopicKind::kRoom;
  base::SharedString topic;
  std::uint64_t after_seq = 0;
  std::uint64_t asked_epoch = 0;
  bool failed = false;
  broker::Page page{};
};

/// Collects answers from several home shards to one command. Touched only on the session's shard.
struct Gather {
  Asker asker;
  std::size_t waiting = 0;
  std::size_t count = 0;
  bool failed = false;  ///< of some it could not be asked
};

}  // namespace hubbub::hub
