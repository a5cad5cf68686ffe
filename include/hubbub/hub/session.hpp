#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/shared_string.hpp"
#include "hubbub/base/timing_wheel.hpp"
#include "hubbub/base/token_bucket.hpp"
#include "hubbub/hub/event.hpp"
#include "hubbub/hub/outbound.hpp"
#include "hubbub/hub/topic.hpp"
#include "hubbub/protocol/cursor.hpp"

namespace hubbub::hub {

class SessionShard;

/// Names a session in the whole process: 8 bits shard, 24 bits slot in that shard's table, 32 bits random, so that a
/// late answer to a session that has ended does not reach the next one in its slot. 0 is none.
using SessionId = std::uint64_t;
inline unsigned shard_of(SessionId id) { return static_cast<unsigned>(id >> 56); }
inline std::size_t slot_of(SessionId id) { return static_cast<std::size_t>(id >> 32 & 0xffffff); }

/// A session's place in a topic.
struct Membership {
  enum class State : std::uint8_t {
    kJoining,   ///< asked the home shard, not answered yet
    kLive,      ///< sent events as they come
    kLagging,   ///< owes events after `sent_seq`; a refill has yet to be asked for
    kRefilling  ///< as kLagging, and a page is on its way
  };
  Topic* topic = nullptr;
  std::uint64_t sent_seq = 0;  ///< kLagging, kRefilling: newest event sent; kJoining: which attempt it is
  std::uint64_t from_seq = 0;  ///< where it began: whatever it was sent comes after it
  std::uint32_t index = 0;     ///< in topic->members
  State state = State::kJoining;
};

/// Exists while a session's reader is slow, or away.
struct Pressure : base::Timer {
  Session* session = nullptr;
  std::int64_t progress_ms = 0;  ///< when the socket last took something
  bool marked = false;           ///< kept events have given way to marks
  bool suspended = false;        ///< there is no connection at all
  struct Conflated {
    const Topic* topic;
    EventRef event;
  };
  std::vector<Conflated> conflated;  ///< ephemera that wait; none outlives its session's membership
};

/// One attachment of one user over one transport. Lives and dies on one shard; all methods [shard].
class Session {
 public:
  Session(SessionShard& shard, SessionId id, base::SharedString user, Framing framing, Outbound& outbound);

  SessionId id() const { return id_; }
  const base::SharedString& user() const { return user_; }
  Framing framing() const { return framing_; }
  Outbound& outbound() { return *outbound_; }

  // The transport tells:
  /// A whole text message. May not be called after closed().
  void receive(std::string_view text);
  /// The socket took less than there was.
  void blocked();
  /// A blocked socket took some.
  void progressed();
  /// A blocked socket took all.
  void drained();
  /// The connection is gone. The session is destroyed.
  void closed();

  // For transports whose sessions outlive a connection:
  /// There is no connection for a while: kept events stay in their streams, of ephemera the newest a key wait.
  /// `outbound` still gets what is for this session alone.
  void suspend();
  bool is_suspended() const { return pressure_ != nullptr && pressure_->suspended; }
  /// A connection is there (again): what was missed follows, then what is new. With a cursor it goes on from there,
  /// for what was sent last may not have arrived; without, from where it was suspended. `announce`: `connected` first.
  void resume(const protocol::Cursor* cursor, bool announce);
  /// How far the session has been sent its streams. `key_tag` 0: the cursor does not name the session. `answer` goes
  /// into the cursor as it is.
  void append_cursor(std::string& out, std::uint64_t key_tag, std::uint64_t answer = 0);
  /// `connected` has been sent.
  bool is_attached() const { return attached_; }
  /// Nothing is on its way that was asked for on the session's behalf.
  bool is_settled() const;

 private:
  friend class SessionShard;

  SessionShard& shard_;
  Outbound* outbound_;
  base::SharedString user_;
  SessionId id_;
  std::vector<Membership> memberships_;
  std::unique_ptr<Pressure> pressure_;
  base::TokenBucket frames_;
  base::TokenBucket bytes_;
  std::uint32_t watches_ : 24 = 0;  // max_watches_per_session is a million at most
  std::uint32_t heavy_ : 8 = 0;     // commands under way whose answers are large: a handful
  Framing framing_;
  bool holds_ = false;              // commands wait for their turn
  bool closing_ : 1 = false;        // its transport has been told to close
  bool awaits_refill_ : 1 = false;  // in its shard's list
  bool attached_ : 1 = false;       // its user's home shard knows of it, and `connected` has been sent
};
static_assert(sizeof(Session) <= 88, "the next larger heap block, for each session");

}  // namespace hubbub::hub
