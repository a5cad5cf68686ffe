#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "hubbub/broker/backend.hpp"
#include "hubbub/hub/backend_requests.hpp"
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
  /// Makes one shard's backend, to tell its events to the sinks.
  using BackendFactory =
      std::function<std::unique_ptr<broker::Backend>(runtime::Shard&, broker::BrokerSink&, broker::PresenceSink&)>;

  /// Before the pool starts.
  ConnectionManager(runtime::ShardPool& shards, Limits limits, const BackendFactory& make_backend);
  ~ConnectionManager();

  const Limits& limits() const { return limits_; }
  runtime::ShardPool& shards() { return shards_; }
  /// The session side of a shard: where a transport opens sessions. [shard]
  SessionShard& sessions(const runtime::Shard& shard);
  /// [any thread]
  const Counters& counters(unsigned shard) const;
  std::uint64_t session_count() const;

  /// From here on ending sessions are not told to rooms and watchers: all of them are ending. Delivery reports that
  /// wait are answered with what is known. [any thread]
  void begin_stop();
  /// Whether the broker does its work. [any thread]
  bool is_ready() const;
  /// Tells the other nodes that this one goes. `done` on shard 0. [any thread]
  void leave(base::InlineFunction<void()> done);
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
  /// Runs `task(HomeShard&)` on shard `index`. [any thread]
  template <class F>
  void post_home_at(unsigned index, F&& task) {
    shards_[index].post([home = homes_[index].get(), task = std::forward<F>(task)]() mutable { task(*home); });
  }

  // What backends ask, by way of the API. `from` is the asking shard, and `done` runs there, once.

  // With other nodes it is about all of them.

  /// Publishes each, in their order where it is the same stream; one mailbox task a home shard. [shard `from`]
  void publish(unsigned from, std::vector<BackendPublish> items, PublishDone done);
  /// Has all sessions of the user carry `order` out; `done` gets their number. [any thread]
  void order_sessions(unsigned from, const base::SharedString& user, SessionOrder order, Tally::Done done);
  /// Deletes the room; `done` gets the number of sessions that left it. [any thread]
  void erase_room(unsigned from, const base::SharedString& room, Tally::Done done);
  /// Sends an event to all sessions; `done` gets their number. [any thread]
  void broadcast(unsigned from, std::string json, Tally::Done done);
  /// `done(ask(HomeShard&))` with the home shard of `id`. [any thread]
  template <class Ask, class Done>
  void ask_home(unsigned from, const base::SharedString& id, Ask ask, Done done) {
    auto both = std::make_unique<std::pair<Ask, Done>>(std::move(ask), std::move(done));
    post_home(id, [this, from, both = std::move(both)](HomeShard& home) mutable {
      auto answer = both->first(home);
      auto parcel = std::make_unique<std::pair<decltype(answer), Done>>(std::move(answer), std::move(both->second));
      shards_[from].post([parcel = std::move(parcel)] { parcel->second(std::move(parcel->first)); });
    });
  }
  /// As ask_home, where `ask(HomeShard&, then)` gives its answer to `then(Answer)`, now or later. [any thread]
  template <class Answer, class Ask, class Done>
  void ask_home_later(unsigned from, const base::SharedString& id, Ask ask, Done done) {
    auto both = std::make_unique<std::pair<Ask, Done>>(std::move(ask), std::move(done));
    post_home(id, [this, from, both = std::move(both)](HomeShard& home) mutable {
      auto& asks = both->first;
      asks(home, [this, from, both = std::shared_ptr<std::pair<Ask, Done>>(std::move(both))](Answer answer) {
        auto kept = std::make_unique<Answer>(std::move(answer));
        shards_[from].post([both, kept = std::move(kept)] { both->second(std::move(*kept)); });
      });
    });
  }
  /// `done` gets a vector of what `ask(HomeShard&)` answers on each shard. [shard `from`]
  template <class Ask, class Done>
  void ask_homes(unsigned from, Ask ask, Done done) {
    using Answer = std::invoke_result_t<Ask&, HomeShard&>;
    struct Gathering {
      Done done;
      std::vector<Answer> answers{};
    };
    auto gathering = std::make_shared<Gathering>(Gathering{std::move(done)});
    const auto shared_ask = std::make_shared<const Ask>(std::move(ask));
    for (unsigned index = 0; index < shards_.size(); ++index) {
      post_home_at(index, [this, from, shared_ask, gathering](HomeShard& home) {
        auto answer = std::make_unique<Answer>((*shared_ask)(home));
        shards_[from].post([this, gathering, answer = std::move(answer)] {
          gathering->answers.push_back(std::move(*answer));
          if (gathering->answers.size() == shards_.size()) gathering->done(std::move(gathering->answers));
        });
      });
    }
  }
  template <class T>
  using Answered = base::InlineFunction<void(base::Result<T>), 64>;
  /// Rooms with members, in order of their ids. [shard `from`]
  void rooms(unsigned from, std::string prefix, PageRequest page, Answered<IdPage<RoomInfo>> done);
  /// Nothing when the room has no member and its stream keeps nothing. [shard `from`]
  void room(unsigned from, const base::SharedString& id, Answered<std::optional<RoomInfo>> done);
  void members(unsigned from, const base::SharedString& room, PageRequest page, Answered<RoomMembers> done);
  void typing_users(unsigned from, const base::SharedString& room, Answered<std::vector<base::SharedString>> done);
  void users(unsigned from, PageRequest page, Answered<IdPage<UserInfo>> done);
  void user_totals(unsigned from, Answered<UserTotals> done);
  /// In the order of `users`.
  void presence(unsigned from, std::vector<base::SharedString> users, Answered<std::vector<PresenceInfo>> done);
  void sessions_of(unsigned from, const base::SharedString& user, Answered<std::vector<NamedSession>> done);

  // Sessions of other nodes.

  /// Of this node; 0 without others. [any thread]
  broker::NodeTag node() const { return node_; }
  /// How clients name a session of this node: 16 hex digits, and 8 of its node before them where there are several.
  std::string session_text(SessionId id) const;
  struct SessionName {
    broker::NodeTag node = 0;
    SessionId id = 0;
  };
  static std::optional<SessionName> parse_session_text(std::string_view text);
  /// Commands for a session of another node. [shard `from`]
  void call_elsewhere(unsigned from, const SessionName& session, std::string_view key,
                      const std::vector<std::string_view>& texts, base::InlineFunction<void(CallAnswer), 64> done);
  /// A session of the user, on whatever other node, has been taken over here: it is to go, without being missed.
  /// [shard `from`]
  void retire_elsewhere(unsigned from, const base::SharedString& user, SessionId session, std::uint64_t key_tag);

  /// Delivery reports that wait, on all shards: while there are none, nobody need hear of a `received`.
  std::atomic<std::size_t>& reports_waiting() { return reports_waiting_; }

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
  std::atomic<std::size_t> reports_waiting_{0};
  std::atomic<std::uint64_t> broadcasts_{0};
  broker::NodeTag node_ = 0;

  void answer_node(std::string_view question, broker::NodeBus::Answer answer);
  Tally::Done add_other_nodes(unsigned from, std::string question, Tally::Done done);
  void broadcast_here(unsigned from, std::string json, Tally::Done done);
};

}  // namespace hubbub::hub
