#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/result.hpp"
#include "hubbub/base/shared_string.hpp"

namespace hubbub::broker {

enum class StreamKind : std::uint8_t { kRoom, kInbox };

/// Names a stream: the retained, ordered log of one room or of one user's inbox. The id is opaque bytes.
struct StreamKey {
  StreamKind kind = StreamKind::kRoom;
  base::SharedString id;
  friend bool operator==(const StreamKey&, const StreamKey&) = default;
};

/// A place in a stream. `epoch` changes when the stream's past is lost (restart, eviction); `seq` counts from 1 without
/// gaps within an epoch. seq 0 is "before the first".
struct Position {
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

/// What a publisher hands over. `body` is the tail of the event's JSON object (`"room_id":"r",...`, no braces); the
/// broker never looks inside.
struct Publication {
  std::string type;  ///< "message", "direct_message", "notification"
  std::string body;
  std::string dedupe_key;    ///< empty: never a duplicate
  std::int64_t unix_ms = 0;  ///< when it was published
  /// Session that already knows (the sender's own, in the copy for its other sessions); 0: none. Kept with
  /// the event, for what is read back is not sent to that session either.
  std::uint64_t exclude_session = 0;
  /// User whose sessions are not sent it; empty: nobody. Carried and kept.
  base::SharedString exclude_user{};
  /// False: carried to who is subscribed now, and kept nowhere: its event has seq 0 and id_ms 0, and dedupe_key is not
  /// looked at.
  bool keep = true;
  /// Which delivery report waits for the user's `received`, on whatever node; 0: none. Carried; the hub's own number.
  std::uint64_t report = 0;
};

/// An event as the stream keeps it. `id_ms`-`seq` is its public id; id_ms never decreases along a stream.
struct StoredEvent {
  std::uint64_t seq = 0;
  std::uint64_t id_ms = 0;
  std::shared_ptr<const Publication> publication;
};

struct Published {
  Position position;
  std::uint64_t id_ms = 0;
  bool duplicate = false;  ///< the key was seen before: position and id are those of the first; nothing was stored
};

/// Exactly one of the two bounds, or none (the newest `limit`).
struct ReadRange {
  enum class From : std::uint8_t { kSince, kBefore, kNewest };
  From from = From::kNewest;
  std::uint64_t seq = 0;  ///< kSince: events with a greater seq, oldest first; kBefore: the newest with a smaller seq
  std::size_t limit = 0;  ///< at most so many events; 0 gives none (only the positions)
  std::size_t max_bytes = SIZE_MAX;  ///< of bodies: stop after the event that passes it; at least one is given
};

struct Page {
  std::uint64_t epoch = 0;
  std::uint64_t first_seq = 0;      ///< oldest retained; head_seq + 1 when nothing is retained
  std::uint64_t head_seq = 0;       ///< newest ever given out; 0 when none
  bool more = false;                ///< the range holds more than was given (newer ones for kSince, older ones else)
  std::vector<StoredEvent> events;  ///< ascending seq
};

/// Told of events of subscribed streams.
class BrokerSink {
 public:
  /// In seq order, each event once, and before the completion of the publish that made it. [shard]
  virtual void on_event(const StreamKey& key, std::uint64_t epoch, const StoredEvent& event) = 0;

 protected:
  ~BrokerSink() = default;
};

/// What carries events and keeps streams. One instance a shard serves the streams whose home is that shard; every call,
/// completion and event is on that shard's thread. A completion runs exactly once, possibly before the call returns.
///
/// Promises that every backend keeps (tests/contract):
/// - publishes to one stream are ordered as called; seq grows by one for each stored event;
/// - a dedupe_key seen in the same stream within the window stores nothing and answers with the first position;
/// - after subscribe's completion no later event of the stream is missed, and none comes twice; none comes after
///   unsubscribe returns; subscribing again without unsubscribe is our own mistake;
/// - read gives what is retained and never skips within what it gives: a reader that asked for seq > s and gets
///   first_seq > s + 1 knows that it lost (s, first_seq);
/// - a read from within a callback may show an event that the sink is told of only later: merge by seq;
/// - unsubscribing from what is not subscribed does nothing;
/// - a publication that is not to be kept takes its place among the events of its stream, but changes nothing: no seq,
///   no stream; it is answered with seq 0 and the stream's epoch;
/// - after erase's completion the stream has no past: nothing is read, no dedupe_key is known, seq counts from 1 in
///   another epoch. A subscription stays; what it is told from then on is of the new epoch;
/// - retention by count, age and bytes (hubbub/broker/retention.hpp: the first rule that fits the stream, or the
///   default) drops the oldest first.
class Broker {
 public:
  using PublishDone = base::InlineFunction<void(base::Result<Published>), 96>;
  using SubscribeDone = base::InlineFunction<void(base::Result<Position>), 96>;
  using ReadDone = base::InlineFunction<void(base::Result<Page>), 96>;
  using EraseDone = base::InlineFunction<void(base::Result<Position>), 96>;

  virtual ~Broker() = default;
  virtual void publish(const StreamKey& key, Publication publication, PublishDone done) = 0;
  virtual void subscribe(const StreamKey& key, SubscribeDone done) = 0;
  virtual void unsubscribe(const StreamKey& key) = 0;
  virtual void read(const StreamKey& key, const ReadRange& range, ReadDone done) = 0;
  /// Forgets the stream's past; gives the position that it starts anew from.
  virtual void erase(const StreamKey& key, EraseDone done) = 0;
  /// Lets go of what has grown too old. Called about once a second.
  virtual void sweep() = 0;
};

}  // namespace hubbub::broker
