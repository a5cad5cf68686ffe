#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/broker/broker.hpp"
#include "hubbub/hub/session.hpp"
#include "hubbub/protocol/errors.hpp"

// What a backend can ask of the hub, and what it is answered. None of it knows how the backend asked.
namespace hubbub::hub {

enum class Status : std::uint8_t { kOffline, kAway, kBusy, kOnline };  // ascending: a user is their best session
std::string_view status_name(Status status);
/// Of what another node says.
Status status_of(std::uint64_t number);

// ------------------------------------------------------------------------------------------------------------ publish

/// One event for a room or an inbox.
struct BackendPublish {
  broker::StreamKey stream;
  broker::Publication publication;
  /// An inbox: answer when one of the user's sessions has said `received`, or when so much time has passed. Nothing:
  /// answer when it is published.
  std::optional<std::int64_t> ack_within_ms{};
};

enum class Delivery : std::uint8_t {
  kOffline,  ///< no session of the user was there
  kReached,  ///< sessions were there; none has said that it has the event
  kAcked
};

struct BackendPublished {
  std::optional<protocol::ErrorCode> error{};  ///< it was not published
  broker::Published published{};
  std::size_t sessions = 0;  ///< that it was sent to: of the room or of the user
  Delivery delivery = Delivery::kOffline;
};

using PublishDone = base::InlineFunction<void(std::vector<BackendPublished>&), 64>;

/// Collects the answers of several home shards. Touched only on the asking shard.
struct PublishGather {
  std::vector<BackendPublished> results;
  std::size_t waiting = 0;  ///< parts
  PublishDone done;
};

/// What of one request concerns one home shard.
struct PublishPart {
  unsigned from = 0;
  std::shared_ptr<PublishGather> gather;
  std::vector<BackendPublish> items;
  std::vector<std::uint32_t> places;  ///< of the items in the request
  std::vector<BackendPublished> results{};
  std::size_t waiting = 0;  ///< items
};

// ----------------------------------------------------------------------------------------------------------- sessions

/// What all sessions of a user are to do.
struct SessionOrder {
  enum class What : std::uint8_t { kJoin, kLeave, kDisconnect };
  What what = What::kDisconnect;
  base::SharedString room{};
};

/// Adds up what several shards did. Touched only on the asking shard.
struct Tally {
  using Done = base::InlineFunction<void(base::Result<std::size_t>), 64>;
  unsigned from = 0;
  Done done;
  std::size_t parts = 0;
  std::size_t count = 0;
  /// One of `of_parts` is done.
  void add(std::size_t n, std::size_t of_parts) {
    count += n;
    if (++parts == of_parts) done(count);
  }
};

// -------------------------------------------------------------------------------------------------------------- pages

/// The first `limit` after `after`, in the order of ids as bytes.
struct PageRequest {
  std::string after{};
  std::size_t limit = 100;
};

template <class T>
struct IdPage {
  std::vector<T> items{};  ///< ascending by `id`
  bool more = false;
};

struct RoomInfo {
  base::SharedString id;
  std::size_t members = 0;
  std::size_t sessions = 0;
  broker::Position position{};
};

struct RoomMembers {
  std::size_t count = 0;
  std::vector<base::SharedString> users{};
  bool more = false;
};

struct UserInfo {
  base::SharedString id;
  Status status = Status::kOffline;
  std::size_t sessions = 0;
};

struct UserTotals {
  std::size_t users = 0;  ///< online
  std::size_t sessions = 0;
};

struct PresenceInfo {
  base::SharedString user;
  Status status = Status::kOffline;
  std::optional<std::int64_t> last_seen_ms{};
};

struct SessionInfo {
  SessionId id = 0;
  Status status = Status::kOffline;
};

/// A session on any node, as clients name it.
struct NamedSession {
  std::string id{};
  Status status = Status::kOffline;
};

/// What became of commands for a session on another node.
struct CallAnswer {
  std::optional<protocol::ErrorCode> error{};
  std::vector<std::string> answers{};
};

}  // namespace hubbub::hub
