#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/presence_store.hpp"
#include "hubbub/broker/redis/client.hpp"
#include "hubbub/broker/redis/envelope.hpp"
#include "hubbub/broker/redis/node.hpp"

namespace hubbub::broker::redis {

/// Who is where, in Redis: of each room a sorted set of its members, and for each lease a set of those that its node
/// has; of each user a hash with a word of each lease. docs/redis.md lists the keys. [shard]
class RedisPresence final : public PresenceStore {
 public:
  RedisPresence(Client& client, const base::Clock& clock, Node& node, std::int64_t last_seen_ttl_ms,
                PresenceSink& sink);

  void enter(const base::SharedString& room, const base::SharedString& user, std::size_t names_max,
             RoomDone done) override;
  void keep(const base::SharedString& room, const base::SharedString& user) override;
  void leave(const base::SharedString& room, const base::SharedString& user) override;
  void set_user(const base::SharedString& user, std::uint8_t status, std::size_t sessions) override;
  void watch(const base::SharedString& user, Done done) override;
  void unwatch(const base::SharedString& user) override;
  void type(const base::SharedString& room, const base::SharedString& user, bool starts, std::int64_t ttl_ms) override;
  void users(const std::vector<base::SharedString>& users, UsersDone done) override;
  void members(const base::SharedString& room, std::string_view after, std::size_t limit, MembersDone done) override;
  void typing(const base::SharedString& room, NamesDone done) override;
  void online(CountDone done) override;

  // From the client and its owner.
  void on_room_message(const base::SharedString& room, const ChannelMessage& message);
  void on_watch_message(const ChannelMessage& message);
  /// Changes may have been missed while the watch's subscription was lost: the user's status is told as it is.
  void on_watch_resubscribed(std::string_view channel);
  static bool is_watch_channel(std::string_view channel);
  /// Says again what was not heard; notices that all is forgotten. About once a second.
  void tick();

  /// How many parts the users are divided into, so that a Cluster shares the work.
  static constexpr unsigned kUserParts = 16;
  static std::string part_route(unsigned part);
  static std::string online_key(unsigned part);
  static std::string part_users_key(unsigned part, std::string_view lease);
  static std::string rooms_route();
  static std::string rooms_key(std::string_view lease);
  /// Takes one user back from a lease that is over, or says a word on the user.
  static Command user_command(std::string_view verb, std::string_view user, std::string_view lease, std::uint8_t status,
                              std::size_t sessions, std::int64_t now_ms, std::int64_t seen_ttl_ms,
                              const std::vector<std::string>& over);
  /// Takes members of a room back: `users`, or, if there are none, any `max` of the lease's.
  static Command leave_command(std::string_view verb, std::string_view room_channel, std::string_view lease,
                               std::size_t max, const std::vector<std::string_view>& users);
  static unsigned part_of(std::string_view user);

 private:
  struct Word {
    std::uint8_t status;
    std::size_t sessions;
  };
  void say_member(const base::SharedString& room, const base::SharedString& user, bool here);
  void list_room(const base::SharedString& room);
  Command enter_command(std::string_view channel, std::string_view user, std::size_t names_max) const;
  void say_user(const base::SharedString& user, Word word);

  Client& client_;
  const base::Clock& clock_;
  Node& node_;
  const std::int64_t last_seen_ttl_ms_;
  PresenceSink& sink_;
  std::uint64_t forgotten_ = 0;
  using Id = base::SharedString;
  template <class V>
  using ById = boost::unordered_flat_map<Id, V, base::SharedStringHash, base::SharedStringEqual>;
  /// Members of this node by room: a room that has some is in the lease's list.
  ById<boost::unordered_flat_set<Id, base::SharedStringHash, base::SharedStringEqual>> here_;
  std::vector<std::pair<Id, Id>> unheard_members_;  // room, user: here or not, as here_ says when it is said again
  ById<Word> unheard_words_;
};

}  // namespace hubbub::broker::redis
