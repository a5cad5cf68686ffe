#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/broker.hpp"
#include "hubbub/broker/redis/client.hpp"
#include "hubbub/broker/redis/envelope.hpp"
#include "hubbub/broker/retention.hpp"

namespace hubbub::broker::redis {

struct RedisBrokerLimits {
  std::size_t retain_count = 1000;
  std::int64_t retain_age_ms = 24 * 3'600'000LL;
  std::size_t retain_bytes = 1024 * 1024;
  std::vector<RetentionRule> retain_rules{};
  std::int64_t dedupe_window_ms = 300'000;  ///< 0: no publish is a duplicate
};

/// `ws:room:<id>`, `ws:user:<id>`: channel, route and part of the names of the keys.
std::string channel_of(const StreamKey& key);
/// Nothing when the channel is not a stream's.
std::optional<StreamKey> stream_of(std::string_view channel);

/// Streams in Redis, one hash (head: epoch, newest seq) and one Redis stream (entry ids `seq-0`) each. An event is
/// given its place, kept and told by one script (PUBLISH within it), so that all nodes get it once and in one order; it
/// comes back to the node that published it by the same way. What does not come back is read. [shard]
class RedisBroker final : public Broker {
 public:
  /// `publisher` names this shard of this process among all that publish.
  RedisBroker(Client& client, const base::Clock& clock, const RedisBrokerLimits& limits, std::string publisher,
              BrokerSink& sink);
  ~RedisBroker() override;

  void publish(const StreamKey& key, Publication publication, PublishDone done) override;
  void subscribe(const StreamKey& key, SubscribeDone done) override;
  void unsubscribe(const StreamKey& key) override;
  void read(const StreamKey& key, const ReadRange& range, ReadDone done) override;
  void erase(const StreamKey& key, EraseDone done) override;
  void sweep() override;

  // From the client.
  void on_message(const StreamKey& key, const ChannelMessage& message);
  void on_resubscribed(const StreamKey& key);

  struct Usage {
    std::size_t subscriptions = 0;
    std::size_t unsettled = 0;  ///< subscriptions that the next sweep looks at
    std::uint64_t gaps = 0;     ///< times that events were missing and were read from the stream
    std::uint64_t refused = 0;  ///< messages that were not understood
  };
  Usage usage() const {
    Usage usage = usage_;
    usage.unsettled = unsettled_.size();
    return usage;
  }

 private:
  struct Event {
    Position position;
    std::uint64_t id_ms = 0;
    std::shared_ptr<const Publication> publication;
  };
  struct Completion {
    std::uint64_t seq;
    std::int64_t since_ms;
    Published answer;
    PublishDone done;
  };
  struct Subscription {
    StreamKey key;
    std::uint64_t generation = 0;
    Position last{};
    bool opening = true;             // its position is not known yet
    bool filling = false;            // what is missing is being read
    bool fill_again = false;         // asked for meanwhile
    bool listed = false;             // in unsettled_
    unsigned erasing = 0;            // erases of our own that are not answered
    std::uint64_t erased_epoch = 0;  // what they were asked to forget
    bool is_going(std::uint64_t epoch) const { return erasing != 0 && epoch == erased_epoch; }
    std::vector<std::uint64_t> retired;    // epochs before the present one
    std::map<std::uint64_t, Event> early;  // of the present epoch, behind a gap
    std::vector<Event> before_open;
    std::deque<Completion> completions;  // of our publishes whose events have not come back
  };
  using Table = boost::unordered_flat_map<base::SharedString, std::unique_ptr<Subscription>, base::SharedStringHash,
                                          base::SharedStringEqual>;

  struct Names {
    std::string channel, head, stream;
  };
  static Names names_of(const StreamKey& key);
  Subscription* find(const StreamKey& key);
  Subscription* find(const StreamKey& key, std::uint64_t generation);
  std::int64_t head_ttl_ms(const RetentionLimits& limits) const;
  std::uint64_t epoch_if_none(const StreamKey& key);

  void published(const StreamKey& key, const Published& answer, PublishDone done);
  void open(const StreamKey& key, std::uint64_t generation, SubscribeDone done);
  void opened(const StreamKey& key, std::uint64_t generation, const base::Result<Reply>& reply, SubscribeDone done);
  // Each of these may call back into whoever uses the broker, after which the subscription may be another one or gone:
  // what is given is a copy, and the subscription is looked for again.
  void offer(const StreamKey& key, std::uint64_t generation, Event event);
  void deliver(const StreamKey& key, std::uint64_t generation, const Event& event);
  void drain_early(const StreamKey& key, std::uint64_t generation);
  void complete(const StreamKey& key, std::uint64_t generation);
  void filled(const StreamKey& key, std::uint64_t generation, const base::Result<Page>& page);
  static void adopt(Subscription& subscription, std::uint64_t epoch);
  void fill(Subscription& subscription);
  void look_again(Subscription& subscription);

  Client& client_;
  const base::Clock& clock_;
  const RedisBrokerLimits limits_;
  const RetentionRules rules_;
  const std::string publisher_;
  BrokerSink& sink_;
  std::uint64_t counter_ = 0;
  std::uint64_t next_generation_ = 1;
  std::array<Table, 2> tables_;
  std::vector<std::pair<StreamKey, std::uint64_t>> unsettled_;  // subscriptions that sweep has to look at
  Usage usage_;
};

}  // namespace hubbub::broker::redis
