#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hubbub/broker/broker.hpp"
#include "hubbub/hub/counters.hpp"
#include "hubbub/hub/limits.hpp"
#include "hubbub/hub/session.hpp"
#include "hubbub/runtime/shard_pool.hpp"

namespace hubbub::hub {

class HomeShard;
class SessionShard;

/// The one shared heart that all transports hang on. On each shard it has two sides: SessionShard, the sessions that
/// live there and the fan-out to them; and HomeShard, the rooms and users whose home is there and who give events their
/// order. The two talk by mailbox only, also on the same shard, so one path serves any number of shards.
class ConnectionManager {
 public:
  /// Makes one shard's broker, to tell its events to `sink`.
  using BrokerFactory = std::function<std::unique_ptr<broker::Broker>(runtime::Shard&, broker::BrokerSink& sink)>;

  /// Before the pool starts.
  ConnectionManager(runtime::ShardPool& shards, Limits limits, const BrokerFactory& make_broker);
  ~ConnectionManager();

  const Limits& limits() const { return limits_; }
  runtime::ShardPool& shards() { return shards_; }
  /// The session side of a shard: where a transport opens sessions. [shard]
  SessionShard& sessions(const runtime::Shard& shard);
  /// [any thread]
  const Counters& counters(unsigned shard) const;
  std::uint64_t session_count() const;

  /// From here on ending sessions are not told to rooms and watchers: all of them are ending. [any thread]
  void begin_stop() { stopping_.store(true, std::memory_order_relaxed); }
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  /// Runs `task(HomeShard&)` on the home shard of `id`. [any thread]
  template <class F>
  void post_home(const base::SharedString& id, F&& task) {
    const unsigned index = shards_.home_of(id.hash());
    shards_[index].post([home = homes_[index].get(), task = std::forward<F>(task)]() mutable { task(*home); });
  }
  /// As post_home; false when that shard has more mail than it may. [any thread]
  template <class F>
  bool try_post_home(const base::SharedString& id, F&& task) {
    const unsigned index = shards_.home_of(id.hash());
    return shards_[index].try_post(
        [home = homes_[index].get(), task = std::forward<F>(task)]() mutable { task(*home); });
  }
  /// Runs `task(SessionShard&)` on shard `index`. [any thread]
  template <class F>
  void post_sessions(unsigned index, F&& task) {
    shards_[index].post([side = sessions_[index].get(), task = std::forward<F>(task)]() mutable { task(*side); });
  }
  /// Sends an event to the members of a topic on shard `index`. When its mailbox is full the event is not lost but
  /// owed: the members read it from the stream (kept), or it is dropped and counted (ephemeral). [home shard]
  void post_event(unsigned index, TopicKind kind, const base::SharedString& topic, const EventRef& event);
  /// Sends `json`, an event that is not kept, to one session; dropped and counted when its shard has more mail than it
  /// may. [home shard]
  void post_signal(SessionId session, std::shared_ptr<const std::string> json);
  unsigned home_index(const base::SharedString& id) const { return shards_.home_of(id.hash()); }

  /// Unguessable, derived from the id by a secret of this process, so that it costs a session nothing to keep.
  std::string session_key(SessionId id) const;
  /// Its first half as a number: what a cursor holds.
  std::uint64_t session_key_tag(SessionId id) const;

 private:
  runtime::ShardPool& shards_;
  const Limits limits_;
  std::array<unsigned char, 32> key_secret_;
  std::vector<std::unique_ptr<HomeShard>> homes_;
  std::vector<std::unique_ptr<SessionShard>> sessions_;
  std::atomic<bool> stopping_{false};
};

}  // namespace hubbub::hub
