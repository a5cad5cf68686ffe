#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/result.hpp"
#include "hubbub/base/shared_string.hpp"

namespace hubbub::broker {

/// Told of what happens to rooms that the node is subscribed to and users that it watches, whichever node did it: each
/// once, and in one order with the events of the room. [shard]
class PresenceSink {
 public:
  /// The user's first session of all nodes came, or the last one went; `members` are there now.
  virtual void on_member(const base::SharedString& room, const base::SharedString& user, bool joined,
                         std::size_t members) = 0;
  virtual void on_typing(const base::SharedString& room, const base::SharedString& user, bool starts) = 0;
  /// A watched user's status changed. `status` as PresenceStore says it.
  virtual void on_presence(const base::SharedString& user, std::uint8_t status, std::int64_t when_ms) = 0;
  /// What the node had said is lost: it must say again who is here.
  virtual void on_forgotten() = 0;

 protected:
  ~PresenceSink() = default;
};

/// What the nodes know of each other's members and users. A node says what it has itself; when it is no more (its lease
/// has ended) what it said is void, and one of the others takes it back. One instance a shard, for the rooms and users
/// whose home is there; all calls and completions [shard]. A completion runs exactly once, later.
class PresenceStore {
 public:
  struct Room {
    std::size_t members = 0;
    std::vector<std::string> names{};  ///< the first few
  };
  struct Members {
    std::size_t members = 0;
    std::vector<std::string> names{};  ///< ascending as bytes
    bool more = false;
  };
  struct User {
    std::uint8_t status = 0;  ///< 0 offline; else as the nodes said, the greatest
    std::optional<std::int64_t> last_seen_ms{};
    std::vector<std::pair<std::uint32_t, std::size_t>> nodes{};  ///< which have sessions of the user, and how many
  };
  using RoomDone = base::InlineFunction<void(base::Result<Room>), 96>;
  using MembersDone = base::InlineFunction<void(base::Result<Members>), 96>;
  using UsersDone = base::InlineFunction<void(base::Result<std::vector<User>>), 96>;
  using NamesDone = base::InlineFunction<void(base::Result<std::vector<std::string>>), 96>;
  using CountDone = base::InlineFunction<void(base::Result<std::size_t>), 96>;
  using Done = base::InlineFunction<void(base::Result<void>), 96>;

  virtual ~PresenceStore() = default;

  /// This node has its first session of the user in the room. If it fails the node is to say keep() or leave().
  virtual void enter(const base::SharedString& room, const base::SharedString& user, std::size_t names_max,
                     RoomDone done) = 0;
  /// The user is in the room by this node. Said until it is heard.
  virtual void keep(const base::SharedString& room, const base::SharedString& user) = 0;
  /// This node's last session of the user has left. Said until it is heard.
  virtual void leave(const base::SharedString& room, const base::SharedString& user) = 0;
  /// What this node's sessions of a user come to; no sessions: the user is not here any more. Said until it is heard.
  virtual void set_user(const base::SharedString& user, std::uint8_t status, std::size_t sessions) = 0;
  /// From `done` on changes are told.
  virtual void watch(const base::SharedString& user, Done done) = 0;
  virtual void unwatch(const base::SharedString& user) = 0;
  /// Tells the room.
  virtual void type(const base::SharedString& room, const base::SharedString& user, bool starts,
                    std::int64_t ttl_ms) = 0;

  virtual void users(const std::vector<base::SharedString>& users, UsersDone done) = 0;
  virtual void members(const base::SharedString& room, std::string_view after, std::size_t limit, MembersDone done) = 0;
  virtual void typing(const base::SharedString& room, NamesDone done) = 0;
  /// All users online, on all nodes.
  virtual void online(CountDone done) = 0;
};

}  // namespace hubbub::broker
