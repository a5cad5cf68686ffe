#pragma once

#include <array>
#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/hub/backend_requests.hpp"
#include "hubbub/hub/by_id.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/counters.hpp"
#include "hubbub/hub/event.hpp"
#include "hubbub/hub/requests.hpp"
#include "hubbub/hub/session.hpp"
#include "hubbub/hub/topic.hpp"
#include "hubbub/protocol/command.hpp"
#include "hubbub/protocol/cursor.hpp"

namespace hubbub::hub {

/// Where a new session goes on from.
struct Resume {
  protocol::Cursor cursor;         ///< no entries: from now on
  std::string cursor_text;         ///< as the client sent it
  std::vector<std::string> rooms;  ///< to join besides those of the cursor
};

/// The sessions of one shard, what they say, and the fan-out to them. [shard] unless said otherwise.
class SessionShard {
 public:
  SessionShard(ConnectionManager& manager, runtime::Shard& shard);
  ~SessionShard();

  /// Makes a session and attaches it to its user's inbox; `connected` follows when the user's home shard knows of it,
  /// so that whatever is addressed to the user after a client has seen `connected` reaches it.
  /// Then follow the joins that `resume` (may be null) asks for.
  Session& open(base::SharedString user, Framing framing, Outbound& outbound, std::unique_ptr<Resume> resume = {});
  /// Null when there is none.
  Session* find_session(SessionId id);

  /// Carries out commands that came by HTTP for an attached session, at most kCallMax; `done` gets one answer for each,
  /// in their order, as JSON. It is called exactly once, perhaps before this returns.
  static constexpr std::size_t kCallMax = 1000;
  using CallDone = base::InlineFunction<void(const std::vector<std::string>& answers)>;
  void call(Session& session, const std::vector<std::string_view>& texts, CallDone done);

  Counters& counters() { return counters_; }
  Framer& framer() { return framer_; }
  runtime::Shard& shard() { return shard_; }

  // From the home side.
  void attached(const Attached& answer);
  /// Fans an event out to the members of a topic. HOT PATH
  void deliver(TopicKind kind, const base::SharedString& id, const EventRef& event);
  /// The answer to what `call` (0: the session's stream) asked; empty: there is none to give. `heavy` as the asker's.
  void reply(SessionId session, std::uint64_t call, std::string_view json, bool heavy = false);
  /// What another user sends to this session alone, kept nowhere: dropped when the session is slow, for whoever sends
  /// it must not be able to have it closed.
  void signalled(SessionId session, std::string_view json);
  void refilled(const Refilled& answer);
  /// A part of an answer that several home shards give; the last makes the ack.
  void gathered(const std::shared_ptr<Gather>& gather, std::string_view json_events, std::size_t count, bool failed);

  // For backends; each gives the number of sessions that it was carried out on.
  std::size_t carry_out(const SessionOrder& order, const std::vector<SessionId>& sessions);
  /// Everybody leaves: the room is deleted.
  std::size_t remove_all(const base::SharedString& room);
  /// Its client has gone on elsewhere.
  void retire(SessionId id);
  /// Sends an event to all sessions.
  std::size_t broadcast(const EventRef& event);

  /// Events of this topic up to `seq` were not posted because the mailbox was full: its members owe them.
  /// [any thread]
  void owe(TopicKind kind, const base::SharedString& id, std::uint64_t seq);
  void count_dropped() { dropped_at_mailbox_.fetch_add(1, std::memory_order_relaxed); }  // [any thread]
  std::uint64_t dropped_at_mailbox() const { return dropped_at_mailbox_.load(std::memory_order_relaxed); }

 private:
  friend class Session;

  // Commands.
  void receive(Session& session, std::string_view text);
  bool must_wait(const Session& session) const;
  void hold(Session& session, std::string_view text);
  void proceed(Session& session);
  void lighten(Session& session);
  void carry_out(Session& session, std::string_view text);
  void execute(Session& session, const protocol::Command& command);
  void join_room(Session& session, const protocol::Command& command);
  void leave_room(Session& session, const protocol::Command& command);
  void room_message(Session& session, const protocol::Command& command);
  void direct_message(Session& session, const protocol::Command& command);
  void typing(Session& session, const protocol::Command& command, bool starts);
  void presence_query(Session& session, const protocol::Command& command);
  void presence_watch(Session& session, const protocol::Command& command);
  void presence_unwatch(Session& session, const protocol::Command& command);
  void set_status(Session& session, const protocol::Command& command);
  void history(Session& session, const protocol::Command& command);
  void signal(Session& session, const protocol::Command& command);
  void received(Session& session, const protocol::Command& command);
  bool within_rate(Session& session, std::size_t bytes);
  void error(Session& session, std::string_view id, protocol::ErrorCode code, std::string_view field = {});
  void ack(Session& session, std::string_view id);
  void answer(Session& session, std::string_view json);
  Asker asker_of(const Session& session, const protocol::Command& command) const;
  void record_answer(std::uint64_t call, std::string_view json);
  void finish_one(std::uint64_t serial);
  void end_calls(SessionId session);

  // Connections that come and go.
  void suspend(Session& session);
  void resume(Session& session, const protocol::Cursor* cursor, bool announce);
  void rewind(Session& session, Membership& membership, const protocol::Cursor& cursor);
  void append_cursor(const Session& session, std::uint64_t key_tag, std::string& out, std::uint64_t answer = 0);
  void take_attached(Session& session, const Attached& answer);
  void join_resumed(Session& session, const Resume& resume);
  bool join(Session& session, std::string_view room, Asker asker, std::optional<std::uint64_t> since,
            std::string epoch);
  bool remove(Session& session, const Topic* room);
  void send_connected(Session& session, const protocol::Cursor* cursor);

  // Membership.
  template <class Id>
  Topic* find_topic(TopicKind kind, const Id& id) {
    return topics_[static_cast<std::size_t>(kind)].find(id);
  }
  void drop_if_unused(const Topic& topic);
  Topic& topic_for(TopicKind kind, std::string_view id);
  Membership* find_membership(Session& session, const Topic* topic);
  Membership& add_membership(Session& session, Topic& topic);
  void drop_membership(Session& session, Membership& membership);
  void add_member(Session& session, Membership& membership, bool live);
  void make_live(Session& session, Membership& membership);
  void make_lagging(Session& session, Membership& membership);
  void swap_members(Topic& topic, std::uint32_t a, std::uint32_t b);

  // Fan-out and pressure.
  OpenBatches& open_batches(Topic& topic, Lane lane);
  void seal(Topic& topic);
  void seal_all();
  void begin_epoch(Topic& topic, std::uint64_t epoch);
  void deliver_one_by_one(Topic& topic, const Event& event, const EventRef& ref);
  void send(Session& session, std::string_view json, bool recoverable = false);
  /// `topic` null: a broadcast to all.
  void conflate(Session& session, const Topic* topic, const EventRef& event);
  static bool is_excluded(const Session& session, const base::SharedString& user) {
    return !user.empty() && session.user_ == user;
  }
  void on_blocked(Session& session);
  void on_drained(Session& session);
  void on_grace_over(Pressure& pressure);
  void request_refill(Session& session, Membership& membership);
  /// Asks for the next page that the session owes, unless one is on its way: one at a time bounds what a session that
  /// is behind in many rooms can draw in.
  void refill_next(Session& session, std::size_t first = 0);
  Membership* next_to_refill(Session& session, std::size_t first);
  void advance(Topic& topic, std::uint64_t seq);
  void lag_all(Topic& topic);
  void continue_refills();
  void start_waiting_refills();
  void retry_refills();
  void settle_debts();
  void dismiss(Session& session, protocol::CloseCode code);
  void close(Session& session);

  ConnectionManager& manager_;
  runtime::Shard& shard_;
  const Limits& limits_;
  Counters counters_;
  Framer framer_;
  protocol::CommandParser parser_;
  std::vector<std::unique_ptr<Session>> sessions_;  // by slot
  std::vector<std::uint32_t> free_slots_;
  std::array<ById<Topic>, kTopicKindCount> topics_;
  std::vector<Topic*> open_topics_;
  struct Held {
    std::deque<std::string> texts;
    std::size_t bytes = 0;
    std::unique_ptr<Resume> resume;
  };
  boost::unordered_flat_map<SessionId, Held> held_;  // what sessions have said that must wait
  // Streams of a cursor whose joins are under way: what the session's own cursor has to say of them until then.
  boost::unordered_flat_map<SessionId, std::vector<protocol::CursorEntry>> resuming_;
  static constexpr unsigned kCallIndexBits = 16;
  struct Call {
    SessionId session = 0;
    std::size_t waiting = 0;
    std::vector<std::string> answers;
    CallDone done;
  };
  boost::unordered_flat_map<std::uint64_t, Call> calls_;  // by serial number
  std::uint64_t next_call_ = 1;
  std::uint64_t call_ = 0;  // whose command runs now: serial number and index; 0: the session's own
  std::size_t pressured_ = 0;
  struct RetryTimer : base::Timer {
    SessionShard* side = nullptr;
  } retry_timer_;
  std::vector<SessionId> retries_;                     // sessions whose refill failed: the broker is away
  using RefillOf = std::pair<SessionId, std::size_t>;  // and where among its memberships to look first
  std::vector<RefillOf> continuing_;                   // got a page in this turn
  std::deque<RefillOf> awaiting_refill_;               // each session at most once
  std::size_t refills_under_way_ = 0;                  // each is answered exactly once
  std::uint64_t next_attempt_ = 1;
  std::string scratch_;
  std::string cursor_text_;
  std::string cursor_scratch_;

  std::atomic<bool> has_debts_{false};
  std::atomic<std::uint64_t> dropped_at_mailbox_{0};
  std::mutex debts_mutex_;
  using Debts =
      boost::unordered_flat_map<base::SharedString, std::uint64_t, base::SharedStringHash, base::SharedStringEqual>;
  std::array<Debts, kTopicKindCount> debts_;  // topic to newest event owed
};

}  // namespace hubbub::hub
