#pragma once

#include <array>
#include <boost/circular_buffer.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/broker/broker.hpp"
#include "hubbub/broker/retention.hpp"

namespace hubbub::broker {

struct MemoryBrokerLimits {
  std::size_t retain_count = 1000;  ///< events of one stream; 0 keeps none
  std::int64_t retain_age_ms = 24 * 3'600'000LL;
  std::size_t retain_bytes = 1024 * 1024;  ///< of one stream, overhead counted; an event larger than that is not kept
  std::vector<RetentionRule> retain_rules{};      ///< say otherwise for the streams that they fit; up to 64
  std::size_t total_bytes = 256UL * 1024 * 1024;  ///< of this instance: events, streams and dedupe keys
  std::int64_t dedupe_window_ms = 300'000;        ///< 0: no publish is a duplicate
  std::size_t dedupe_max = 1000;                  ///< keys of one stream, the oldest forgotten first; 0 likewise
  std::int64_t idle_linger_ms = 300'000;  ///< how long a stream that keeps nothing and has no subscriber stays known
};

/// Keeps streams in this process, and carries events no further. All calls [shard].
///
/// What it holds is bounded by `total_bytes`: past it go, in this order, streams that keep nothing and have no
/// subscriber, the oldest events of all streams (to the millisecond, whatever rule they fall under), the oldest dedupe
/// keys (which have no more than a quarter in any case). Not counted are subscriptions: a subscribed stream that never
/// had an event is one slot of a table, about 40 bytes, and the hub bounds their number.
///
/// A stream that is dropped counts from 1 again, so it comes back with another epoch: no reader takes what is new for
/// what it has seen. A stream that never had an event may be forgotten and come back with the epoch it had.
///
/// Calls from within on_event or a completion are safe. A publish made there is ordered at once, and its event and
/// completion follow when the running one has returned: so the sink gets its events one after the other.
class MemoryBroker final : public Broker {
 public:
  struct Usage {
    std::size_t streams = 0;  ///< that had an event
    std::size_t subscriptions = 0;
    std::size_t events = 0;
    std::size_t dedupe_keys = 0;
    std::size_t bytes = 0;
    std::uint64_t evicted_events = 0;  ///< given up for total_bytes; retention by count, age and bytes is not counted
    std::uint64_t dropped_streams = 0;
  };

  MemoryBroker(const base::Clock& clock, const MemoryBrokerLimits& limits, BrokerSink& sink);
  ~MemoryBroker() override;
  MemoryBroker(const MemoryBroker&) = delete;
  MemoryBroker& operator=(const MemoryBroker&) = delete;

  void publish(const StreamKey& key, Publication publication, PublishDone done) override;
  void subscribe(const StreamKey& key, SubscribeDone done) override;
  /// Nothing happens when the stream is not subscribed.
  void unsubscribe(const StreamKey& key) override;
  void read(const StreamKey& key, const ReadRange& range, ReadDone done) override;
  void erase(const StreamKey& key, EraseDone done) override;
  void sweep() override;

  Usage usage() const noexcept;

 private:
  template <class T, auto Hook>
  using List = boost::intrusive::list<T, boost::intrusive::member_hook<T, boost::intrusive::list_member_hook<>, Hook>,
                                      boost::intrusive::constant_time_size<false>>;
  struct Stream;

  /// An event and its links in one block; readers elsewhere hold it through a pointer to its publication.
  struct Kept {
    Publication publication;
    std::uint64_t id_ms = 0;
    std::int64_t kept_ms = 0;
    std::size_t bytes = 0;
    Stream* stream = nullptr;
    boost::intrusive::list_member_hook<> by_age;
  };

  struct DedupeKey {
    std::string key;
    Stream* stream = nullptr;
    std::uint64_t seq = 0;
    std::uint64_t id_ms = 0;
    std::int64_t seen_ms = 0;
    std::size_t bytes = 0;
    boost::intrusive::list_member_hook<> by_age;
    boost::intrusive::list_member_hook<> in_stream;
  };
  struct DedupeRef {
    const Stream* stream;
    std::string_view key;
  };
  struct DedupeHash {
    using is_transparent = void;
    using is_avalanching = void;
    std::size_t operator()(const DedupeRef& ref) const noexcept;
    std::size_t operator()(const DedupeKey* key) const noexcept { return (*this)(DedupeRef{key->stream, key->key}); }
  };
  struct DedupeEqual {
    using is_transparent = void;
    static DedupeRef ref(const DedupeKey* key) noexcept { return {key->stream, key->key}; }
    static DedupeRef ref(const DedupeRef& ref) noexcept { return ref; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
      return ref(a).stream == ref(b).stream && ref(a).key == ref(b).key;
    }
  };

  /// Made by a stream's first event; its address stays.
  struct Stream {
    StreamKey key;
    bool subscribed = false;
    std::uint16_t rule = 0;              // in rules_ and events_by_rule_
    std::uint64_t subscribed_after = 0;  // events up to this seq are not for the present subscription
    std::uint64_t head_seq = 0;
    std::uint64_t last_id_ms = 0;
    std::size_t bytes = 0;
    std::size_t dedupe_count = 0;
    std::int64_t idle_since_ms = 0;
    boost::circular_buffer<std::shared_ptr<Kept>> events;  // the newest has head_seq, without gaps
    List<DedupeKey, &DedupeKey::in_stream> dedupe_keys;    // oldest first
    boost::intrusive::list_member_hook<> idle;

    std::uint64_t first_seq() const noexcept { return head_seq - events.size() + 1; }
  };

  /// What the table holds. No stream yet: subscribed, and never had an event.
  struct Entry {
    std::uint64_t epoch = 0;
    std::unique_ptr<Stream> stream;
  };
  using Table = boost::unordered_flat_map<base::SharedString, Entry, base::SharedStringHash, base::SharedStringEqual>;

  /// A publish made while another one's callbacks run.
  struct Waiting {
    StreamKey key;
    StoredEvent event;  // no publication: a duplicate, only to be answered
    Published answer;
    PublishDone done;
  };

  using Events = List<Kept, &Kept::by_age>;  // oldest first

  Table& table(StreamKind kind) noexcept { return tables_[static_cast<std::size_t>(kind)]; }
  Entry* find(const StreamKey& key) noexcept;
  std::uint64_t& fresh_epoch(const StreamKey& key) noexcept;
  Stream& stream_for_publish(const StreamKey& key, std::uint64_t& epoch);

  const DedupeKey* find_duplicate(Stream& stream, std::string_view key, std::int64_t now_ms);
  void remember(Stream& stream, std::string key, std::uint64_t id_ms, std::int64_t now_ms);
  void forget_dedupe_key(DedupeKey& key, std::int64_t now_ms);
  void keep(Stream& stream, std::shared_ptr<Kept> kept, std::int64_t now_ms);
  void forget_oldest_event(Stream& stream, std::int64_t now_ms);
  std::size_t forget_aged_events(std::size_t rule, std::int64_t now_ms, std::size_t at_most);
  void forget_aged_dedupe_keys(std::int64_t now_ms, std::size_t at_most);
  Kept* oldest_event() noexcept;
  void enforce_total(std::int64_t now_ms);
  void update_idle(Stream& stream, std::int64_t now_ms);
  void forget_all(Stream& stream, std::int64_t now_ms);
  void drop(Stream& stream);
  static std::size_t stream_cost(const StreamKey& key) noexcept;

  void carry(const StreamKey& key, Publication publication, PublishDone done);
  bool wanted(const Waiting& waiting) noexcept;
  void answer_waiting();

  const base::Clock& clock_;
  const MemoryBrokerLimits limits_;
  const RetentionRules rules_;
  BrokerSink& sink_;

  std::array<Table, 2> tables_;  // by StreamKind
  // The epochs of streams yet to be made, by a part of the id's hash. Dropping a stream draws its group's anew, so the
  // dropped one needs no memory of its own.
  std::array<std::uint64_t, 1024> fresh_epochs_;
  // One list for all streams of a rule: as they share an age, the events that go are in front, and in a stream's order.
  std::vector<Events> events_by_rule_;
  std::size_t first_swept_ = 0;  // the rule with which the next sweep begins
  List<DedupeKey, &DedupeKey::by_age> dedupe_keys_;
  boost::unordered_flat_set<DedupeKey*, DedupeHash, DedupeEqual> dedupe_index_;
  List<Stream, &Stream::idle> idle_;  // keep nothing and have no subscriber, longest first

  bool answering_ = false;
  std::deque<Waiting> waiting_;

  std::size_t bytes_ = 0;
  std::size_t dedupe_bytes_ = 0;
  Usage usage_;
};

}  // namespace hubbub::broker
