#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/compact_vector.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/base/timing_wheel.hpp"
#include "hubbub/broker/backend.hpp"
#include "hubbub/hub/backend_requests.hpp"
#include "hubbub/hub/by_id.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/delivery_reports.hpp"
#include "hubbub/hub/requests.hpp"
#include "hubbub/hub/user_counts.hpp"

namespace hubbub::hub {

/// How many members a topic has on each shard that has any.
class ShardCounts {
 public:
  void add(unsigned shard);
  void remove(unsigned shard);
  bool empty() const { return first_.second == 0; }
  template <class F>
  void for_each(F&& f) const {
    if (first_.second == 0) return;
    f(first_.first);
    if (!rest_) return;
    for (const auto& [shard, count] : *rest_) f(shard);
  }

 private:
  using Count = std::pair<std::uint32_t, std::uint32_t>;  // shard, members
  Count first_{};                                         // most topics have members on one shard
  std::unique_ptr<std::vector<Count>> rest_;
};

/// The rooms and users whose home is one shard: who is in them, in which order events happen, who types, who is online.
/// [home shard] throughout.
class HomeShard final : public broker::BrokerSink, public broker::PresenceSink {
 public:
  HomeShard(ConnectionManager& manager, runtime::Shard& shard, const ConnectionManager::BackendFactory& make_backend);
  ~HomeShard();

  void attach(std::unique_ptr<AttachRequest> request);
  void detach(DetachRequest request);
  void publish_to_room(std::unique_ptr<PublishRequest> request);
  void publish_direct(std::unique_ptr<PublishRequest> request);
  void typing(const base::SharedString& room, const base::SharedString& user, bool starts);
  /// Appends one `presence` event a user to the answer.
  void presence_query(const std::vector<base::SharedString>& users, std::shared_ptr<Gather> gather);
  void set_status(const base::SharedString& user, SessionId session, Status status, std::string ack,
                  std::uint64_t call);
  void history(std::unique_ptr<HistoryRequest> request);
  void refill(RefillRequest request);
  void signal(const Asker& asker, const base::SharedString& from, const base::SharedString& to_user,
              SessionId to_session, std::string_view data);

  // For backends (home_shard_backend.cpp).
  unsigned index() const { return shard_.index(); }
  broker::Backend& backend() { return *backend_; }
  /// Null: no other nodes.
  broker::PresenceStore* presence_store() { return presence_; }
  void publish(const std::shared_ptr<PublishPart>& part);
  /// A session of the user has what the inbox held up to `seq`.
  void received(const base::SharedString& user, std::uint64_t seq) { reports_.received(user, seq); }
  /// Answers the delivery reports that wait with what is known.
  void begin_stop() { reports_.stop(); }
  /// Rooms with members, in order of their ids.
  IdPage<RoomInfo> rooms(std::string_view prefix, const PageRequest& page) const;
  /// `done` gets nothing when the room has no member and its stream keeps nothing.
  using RoomDone = base::InlineFunction<void(base::Result<std::optional<RoomInfo>>), 64>;
  void room(const base::SharedString& id, RoomDone done);
  RoomMembers members(const base::SharedString& room, const PageRequest& page) const;
  std::vector<base::SharedString> typing_users(const base::SharedString& room) const;
  void read(const broker::StreamKey& stream, const broker::ReadRange& range, broker::Broker::ReadDone done);
  IdPage<UserInfo> users(const PageRequest& page) const;
  UserTotals user_totals() const { return {online_users_, user_sessions_}; }
  /// As far as this node knows.
  PresenceInfo presence(const base::SharedString& user) const;
  std::vector<SessionInfo> sessions_of(const base::SharedString& user) const;
  std::size_t sessions_in(const base::SharedString& room) const;

  // With the other nodes, if there are any (home_shard_nodes.cpp).
  using PresenceDone = base::InlineFunction<void(base::Result<std::vector<PresenceInfo>>), 96>;
  /// What is known of users, whichever their home is, in their order; without other nodes only of those of this shard.
  void ask_presence(const std::vector<base::SharedString>& users, PresenceDone done);
  /// What other nodes answer; a node that does not is left out.
  using AnswersDone = base::InlineFunction<void(std::vector<std::string>), 96>;
  void ask_nodes(const std::vector<broker::NodeTag>& nodes, const std::string& question, AnswersDone done);
  void ask_all_nodes(const std::string& question, AnswersDone done);
  /// The other nodes that have sessions of a user.
  using NodesDone = base::InlineFunction<void(std::vector<broker::NodeTag>), 96>;
  void nodes_of(const base::SharedString& user, NodesDone done);
  std::size_t signal_here(const base::SharedString& to_user, SessionId to_session,
                          const std::shared_ptr<const std::string>& json);
  /// Has `order` carried out on all sessions of the user.
  void order(const base::SharedString& user, const SessionOrder& order, const std::shared_ptr<Tally>& tally) const;
  /// The stream's past goes, and with it all members.
  void erase_room(const base::SharedString& id, std::shared_ptr<Tally> tally);
  /// All members on this node go.
  void remove_all(const base::SharedString& id, const std::shared_ptr<Tally>& tally);

 private:
  struct TypingEntry : base::Timer {
    HomeShard* home = nullptr;
    base::SharedString user;
    base::SharedString room;
    // With other nodes:
    bool own = false;          // a session of this node types; else another node said so
    bool shown = false;        // the room has been told
    std::int64_t said_ms = 0;  // when the other nodes were told last
  };
  struct CountTimer : base::Timer {
    HomeShard* home = nullptr;
    base::SharedString room;
    std::size_t members = 0;  // as last heard
  };
  enum class Subscription : std::uint8_t { kNone, kPending, kStanding };
  using Waiting = std::vector<std::unique_ptr<AttachRequest>>;
  /// A join that waits for what the other nodes or the room's stream have to say.
  struct Reading {
    SessionId session;
    std::uint64_t attempt;
    base::SharedString user;
  };
  struct RoomExtras {
    std::vector<std::unique_ptr<TypingEntry>> typing;
    std::vector<Reading> readings;
    std::vector<std::pair<base::SharedString, EventRef>> held;  // for who is still being joined: `joined` comes first
    std::vector<std::unique_ptr<PublishRequest>> deferred;      // by sessions that are still being joined
    std::unique_ptr<CountTimer> count_timer;                    // a room above room_announce_max: its count is due
    std::unique_ptr<Waiting> waiting;                           // for the subscription to stand
  };
  struct Room {
    base::SharedString id;
    ShardCounts shards;
    [[no_unique_address]] UserCounts users;  // of this node; its padding takes what follows: a room is 72 bytes of heap
    std::uint32_t sessions : 30 = 0;
    Subscription subscription : 2 = Subscription::kNone;
    broker::Position position;
    std::unique_ptr<RoomExtras> extras;  // what a quiet room does without
    RoomExtras& more() {
      if (!extras) extras = std::make_unique<RoomExtras>();
      return *extras;
    }
  };
  static_assert(sizeof(Room) <= 72);
  struct UserSession {
    SessionId id;
    Status status;
  };
  struct UserExtras {
    ShardCounts watchers;
    std::unique_ptr<Waiting> waiting;
    std::unique_ptr<Waiting> watch_waiting;  // for the other nodes' word
    Subscription watch = Subscription::kNone;
    std::uint64_t watch_attempt = 0;
  };
  struct User {
    base::SharedString id;
    [[no_unique_address]] base::CompactVector<UserSession> sessions;  // whose padding takes the next two
    Status told = Status::kOffline;                                   // what watchers know
    Subscription subscription = Subscription::kNone;
    broker::Position position;           // newest of the inbox
    std::unique_ptr<UserExtras> extras;  // what a user whom nobody watches does without
    Status best() const;
    bool is_waiting() const { return extras && extras->waiting; }
    bool is_watched() const { return extras && !extras->watchers.empty(); }
    UserExtras& more() {
      if (!extras) extras = std::make_unique<UserExtras>();
      return *extras;
    }
  };
  static_assert(sizeof(User) <= 56);

  void on_event(const broker::StreamKey& key, std::uint64_t epoch, const broker::StoredEvent& event) override;
  void on_member(const base::SharedString& room, const base::SharedString& user, bool joined,
                 std::size_t members) override;
  void on_typing(const base::SharedString& room, const base::SharedString& user, bool starts) override;
  void on_presence(const base::SharedString& user, std::uint8_t status, std::int64_t when_ms) override;
  void on_forgotten() override;

  void attach_room(std::unique_ptr<AttachRequest> request);
  void attach_inbox(std::unique_ptr<AttachRequest> request);
  void attach_watch(std::unique_ptr<AttachRequest> request);
  void join(Room& room, std::unique_ptr<AttachRequest> request);
  /// What the stream still has of what came after a cursor's position.
  struct Recovery {
    std::optional<bool> recovered;  ///< nothing: it was not asked for
    std::optional<std::uint64_t> replay_after;
    bool ahead = false;  ///< the cursor is ahead of the stream
  };
  void tell_ahead(const AttachRequest& request, std::string_view room_id);
  static Recovery recover(const AttachRequest& request, const base::Result<broker::Page>& page);
  void read_for_join(Room& room, std::unique_ptr<AttachRequest> request);
  bool take_reading(Room* room, const AttachRequest& request);
  void release_held(Room& room, const base::SharedString& user);
  bool is_joining(const Room& room, SessionId session) const;
  void release_deferred(Room& room, SessionId session, bool joined);
  void publish_now(std::unique_ptr<PublishRequest> request);
  void ask_members(Room& room, std::unique_ptr<AttachRequest> request, bool first);
  void asked_members(std::unique_ptr<AttachRequest> request, bool first,
                     base::Result<broker::PresenceStore::Room> found);
  void undo_join(Room& room, const AttachRequest& request, bool first);
  void answer_watch(const AttachRequest& request, const base::Result<PresenceInfo>& info);
  void ask_watched(std::unique_ptr<AttachRequest> request);
  void answer_watched(std::unique_ptr<AttachRequest> request);
  void tell_watchers(const User& user, const PresenceInfo& info);
  void type_for_all(Room& room, const base::SharedString& user, bool starts);
  TypingEntry* find_typing(const Room& room, const base::SharedString& user) const;
  TypingEntry& add_typing(Room& room, const base::SharedString& user);
  void on_typing_time(TypingEntry& entry);
  void show_typing(const Room& room, const base::SharedString& user, bool starts);
  void erase_typing(Room& room, const TypingEntry& entry);
  void register_report(const base::SharedString& user, const broker::StoredEvent& stored);
  void answer_join(const Room& room, const AttachRequest& request, const Recovery& recovery);
  void refuse_join(const AttachRequest& request);
  void drop_join(const AttachRequest& request);
  void open_inbox(User& user, std::unique_ptr<AttachRequest> request);
  void answer_inbox(const AttachRequest& request, const Recovery& recovery);
  void detach_room(const DetachRequest& request);
  void detach_inbox(const DetachRequest& request);
  void detach_watch(const DetachRequest& request);
  void count_sessions(const base::SharedString& user, base::InlineFunction<void(std::size_t), 96> done);
  void signal_elsewhere(const Asker& asker, const base::SharedString& to_user, SessionId to_session,
                        const std::shared_ptr<const std::string>& json);
  void answer_signal(const Asker& asker, std::size_t reached);
  bool has_failed_join(const AttachRequest& request) const;
  bool forget_failed_join(const DetachRequest& request);
  void subscribed(const broker::StreamKey& key, base::Result<broker::Position> position);
  void answer_publish(const PublishRequest& request, const base::Result<broker::Published>& result,
                      std::size_t sessions);
  void publish_item(const std::shared_ptr<PublishPart>& part, std::size_t index);
  void published_item(const std::shared_ptr<PublishPart>& part, std::size_t index, DeliveryReports::Waiter* waiter,
                      const base::Result<broker::Published>& published);
  void reached_item(const std::shared_ptr<PublishPart>& part, std::size_t index, DeliveryReports::Waiter* waiter,
                    std::size_t sessions);
  void finish_item(const std::shared_ptr<PublishPart>& part);

  Room& room_for(const base::SharedString& id);
  Room* find_room(const base::SharedString& id) const;
  User& user_for(const base::SharedString& id);
  User* find_user(const base::SharedString& id) const;
  void drop_if_unused(User& user);

  void tell_joined_or_left(Room& room, const base::SharedString& user, bool joined, std::size_t members);
  void tell_count(const base::SharedString& room);
  void stop_typing(Room& room, const base::SharedString& user);
  void update_presence(User& user);
  void remember_last_seen(const base::SharedString& user);
  void append_presence(std::string& out, const PresenceInfo& info);
  std::string joined_json(const Room& room, const AttachRequest& request, std::optional<bool> recovered);
  void broadcast(const Room& room, const EventRef& event);
  void drop_room(Room& room);
  void reply(SessionId session, std::uint64_t call, std::string json);
  void reply(const Asker& asker, std::string json);
  void reply_error(const Asker& asker, protocol::ErrorCode code);
  void send(std::unique_ptr<Attached> answer);

  ConnectionManager& manager_;
  runtime::Shard& shard_;
  const Limits& limits_;
  ById<Room> rooms_;
  ById<User> users_;
  struct LastSeen {
    std::int64_t unix_ms;
    std::uint64_t departure;
  };
  boost::unordered_flat_map<base::SharedString, LastSeen, base::SharedStringHash, base::SharedStringEqual> last_seen_;
  /// Longest gone first. Of a user who has left again since, an entry is stale.
  std::deque<std::pair<std::uint64_t, base::SharedString>> departures_;
  std::uint64_t next_departure_ = 0;
  /// Joins that failed, until the leave that follows each of them: it must take nobody's place in the room.
  boost::unordered_flat_map<SessionId, std::vector<base::SharedString>> failed_joins_;
  struct SweepTimer : base::Timer {
    HomeShard* home = nullptr;
  } sweep_timer_;
  DeliveryReports reports_;
  std::uint64_t ephemera_ = 0;
  std::uint64_t watch_attempts_ = 0;
  std::size_t online_users_ = 0;
  std::size_t user_sessions_ = 0;
  std::unique_ptr<broker::Backend> backend_;  // last, so first to go: it may still call back into all else
  broker::Broker* broker_;
  broker::PresenceStore* presence_;  // null: no other nodes
};

}  // namespace hubbub::hub
