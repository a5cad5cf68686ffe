#include "hubbub/broker/redis/redis_broker.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>

#include "hubbub/base/random.hpp"
#include "hubbub/broker/redis/errors.hpp"
#include "hubbub/broker/redis/scripts.hpp"

namespace hubbub::broker::redis {

namespace {

constexpr std::string_view kRoomPrefix = "ws:room:";
constexpr std::string_view kUserPrefix = "ws:user:";
constexpr std::int64_t kDayMs = 24 * 3'600'000LL;
constexpr std::size_t kMaxEarly = 1'000;  // they can be read again
constexpr std::size_t kMaxBeforeOpen = 1'000;
constexpr std::size_t kFillEvents = 500;
constexpr std::size_t kFillBytes = 1024 * 1024;
constexpr std::size_t kRetiredEpochs = 8;
constexpr std::int64_t kLateMs = 200;  // what a reply told of comes back within much less

std::size_t index_of(StreamKind kind) { return static_cast<std::size_t>(kind); }

std::uint64_t parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

}  // namespace

std::string channel_of(const StreamKey& key) {
  std::string channel(key.kind == StreamKind::kRoom ? kRoomPrefix : kUserPrefix);
  return channel.append(key.id.view());
}

std::optional<StreamKey> stream_of(std::string_view channel) {
  const bool room = channel.starts_with(kRoomPrefix);
  if (!room && !channel.starts_with(kUserPrefix)) return std::nullopt;
  return StreamKey{room ? StreamKind::kRoom : StreamKind::kInbox,
                   base::SharedString(channel.substr(room ? kRoomPrefix.size() : kUserPrefix.size()))};
}

RedisBroker::RedisBroker(Client& client, const base::Clock& clock, const RedisBrokerLimits& limits,
                         std::string publisher, BrokerSink& sink)
    : client_(client),
      clock_(clock),
      limits_(limits),
      rules_({limits.retain_count, limits.retain_age_ms, limits.retain_bytes}, limits.retain_rules),
      publisher_(std::move(publisher)),
      sink_(sink) {}

RedisBroker::~RedisBroker() = default;

RedisBroker::Names RedisBroker::names_of(const StreamKey& key) {
  Names names{channel_of(key), {}, {}};
  names.head = Client::key(names.channel, "head:" + names.channel);
  names.stream = Client::key(names.channel, "stream:" + names.channel);
  return names;
}

RedisBroker::Subscription* RedisBroker::find(const StreamKey& key) {
  Table& table = tables_[index_of(key.kind)];
  const auto found = table.find(key.id);
  return found == table.end() ? nullptr : found->second.get();
}

RedisBroker::Subscription* RedisBroker::find(const StreamKey& key, std::uint64_t generation) {
  Subscription* subscription = find(key);
  return subscription != nullptr && subscription->generation == generation ? subscription : nullptr;
}

std::int64_t RedisBroker::head_ttl_ms(const RetentionLimits& limits) const {
  return std::max(limits.age_ms, limits_.dedupe_window_ms) + kDayMs;
}

/// Who subscribed to a stream before its first event has been told an epoch, which may be forgotten meanwhile.
std::uint64_t RedisBroker::epoch_if_none(const StreamKey& key) {
  const Subscription* subscription = find(key);
  const bool fresh = subscription == nullptr || subscription->opening || subscription->last.seq != 0;
  return fresh ? base::random_nonzero_u64() : subscription->last.epoch;
}

// ------------------------------------------------------------------------------------------------------------ publish

// HOT PATH
void RedisBroker::publish(const StreamKey& key, Publication publication, PublishDone done) {
  const Names names = names_of(key);
  std::string payload;
  append_publication(payload, publication);
  if (!publication.keep) {
    Command command = Command::eval(scripts().carry, 1, 3);
    command.add(names.head).add(client_.publish_verb()).add(names.channel).add(payload);
    client_.send(names.channel, std::move(command),
                 [this, key, done = std::make_unique<PublishDone>(std::move(done))](const base::Result<Reply>& reply) {
                   if (!reply) return (*done)(reply.error());
                   const Subscription* subscription = find(key);
                   const std::uint64_t known = subscription == nullptr ? 0 : subscription->last.epoch;
                   (*done)(Published{.position = {reply->is_nil() ? known : parse_hex(reply->text()), 0}});
                 });
    return;
  }
  const RetentionLimits& limits = rules_.limits_for(key);
  const bool deduped = !publication.dedupe_key.empty() && limits_.dedupe_window_ms > 0;
  Command command = Command::eval(scripts().publish, 3, 13);
  command.add(names.head).add(names.stream);
  if (deduped) {
    command.add(Client::key(names.channel, "dedupe:" + names.channel + '\0' + publication.dedupe_key));
  } else {
    command.add(names.head);
  }
  command.add(client_.publish_verb())
      .add(names.channel)
      .add(publisher_)
      .add(++counter_)
      .add(clock_.unix_ms())
      .add(publication.unix_ms)
      .add(base::to_hex(epoch_if_none(key)))
      .add(std::uint64_t{limits.count})
      .add(limits.age_ms)
      .add(std::uint64_t{limits.bytes})
      .add(head_ttl_ms(limits))
      .add(deduped ? limits_.dedupe_window_ms : std::int64_t{0})
      .add(payload);
  client_.send(names.channel, std::move(command),
               [this, key, done = std::make_unique<PublishDone>(std::move(done))](const base::Result<Reply>& reply) {
                 if (!reply) return (*done)(reply.error());
                 const Reply& answer = *reply;
                 published(key,
                           {.position = {parse_hex(answer[0].text()), answer[1].number()},
                            .id_ms = answer[2].number(),
                            .duplicate = answer[3].integer() != 0},
                           std::move(*done));
               });
}

/// The event comes before the answer: who published it hears of it in the order of the stream.
void RedisBroker::published(const StreamKey& key, const Published& answer, PublishDone done) {
  Subscription* subscription = find(key);
  if (subscription == nullptr || subscription->opening || subscription->is_going(answer.position.epoch) ||
      answer.position.epoch != subscription->last.epoch || answer.position.seq <= subscription->last.seq) {
    return done(answer);
  }
  if (subscription->completions.empty()) look_again(*subscription);
  subscription->completions.push_back({answer.position.seq, clock_.steady_ms(), answer, std::move(done)});
}

void RedisBroker::complete(const StreamKey& key, std::uint64_t generation) {
  while (Subscription* subscription = find(key, generation)) {
    auto& waiting = subscription->completions;
    const bool all = subscription->is_going(subscription->last.epoch);
    if (waiting.empty() || (!all && waiting.front().seq > subscription->last.seq &&
                            waiting.front().answer.position.epoch == subscription->last.epoch)) {
      return;
    }
    Completion next = std::move(waiting.front());
    waiting.pop_front();
    next.done(next.answer);
  }
}

// ---------------------------------------------------------------------------------------------------------- subscribe

void RedisBroker::subscribe(const StreamKey& key, SubscribeDone done) {
  assert(find(key) == nullptr);
  auto owned = std::make_unique<Subscription>();
  owned->key = key;
  const std::uint64_t generation = owned->generation = next_generation_++;
  tables_[index_of(key.kind)].emplace(key.id, std::move(owned));
  ++usage_.subscriptions;
  client_.subscribe(channel_of(key), [this, key, generation, done = std::make_unique<SubscribeDone>(std::move(done))](
                                         const base::Result<void>& subscribed) {
    Subscription* subscription = find(key, generation);
    if (subscribed && subscription != nullptr) return open(key, generation, std::move(*done));
    if (subscription != nullptr) {
      tables_[index_of(key.kind)].erase(key.id);
      --usage_.subscriptions;
    }
    (*done)(subscribed ? make_error_code(RedisError::kAborted) : subscribed.error());
  });
}

void RedisBroker::open(const StreamKey& key, std::uint64_t generation, SubscribeDone done) {
  const Names names = names_of(key);
  Command command = Command::eval(scripts().head, 1, 2);
  command.add(names.head).add(base::to_hex(base::random_nonzero_u64())).add(head_ttl_ms(rules_.limits_for(key)));
  client_.send(names.channel, std::move(command),
               [this, key, generation, done = std::make_unique<SubscribeDone>(std::move(done))](
                   const base::Result<Reply>& reply) { opened(key, generation, reply, std::move(*done)); });
}

void RedisBroker::opened(const StreamKey& key, std::uint64_t generation, const base::Result<Reply>& reply,
                         SubscribeDone done) {
  Subscription* subscription = find(key, generation);
  if (subscription == nullptr) return done(make_error_code(RedisError::kAborted));
  if (!reply) {
    unsubscribe(key);
    return done(reply.error());
  }
  subscription->last = {parse_hex((*reply)[0].text()), (*reply)[1].number()};
  subscription->opening = false;
  std::vector<Event> early = std::move(subscription->before_open);
  subscription->before_open = {};
  const bool fill_now = std::exchange(subscription->fill_again, false);
  done(subscription->last);
  // What came before its position was known: what is behind it follows.
  for (Event& event : early) offer(key, generation, std::move(event));
  subscription = find(key, generation);
  if (subscription != nullptr && fill_now) fill(*subscription);
}

void RedisBroker::unsubscribe(const StreamKey& key) {
  Table& table = tables_[index_of(key.kind)];
  const auto found = table.find(key.id);
  if (found == table.end()) return;
  const std::unique_ptr<Subscription> subscription = std::move(found->second);
  table.erase(found);
  --usage_.subscriptions;
  client_.unsubscribe(channel_of(key));
  for (Completion& waiting : subscription->completions) waiting.done(waiting.answer);
}

void RedisBroker::on_message(const StreamKey& key, const ChannelMessage& message) {
  Subscription* subscription = find(key);
  if (subscription == nullptr) return;
  const std::uint64_t generation = subscription->generation;
  switch (message.kind) {
    case ChannelMessage::Kind::kKept: {
      auto publication = parse_publication(message.payload);
      if (!publication) {
        ++usage_.refused;
        return;
      }
      return offer(key, generation,
                   {message.position, message.id_ms, std::make_shared<const Publication>(std::move(*publication))});
    }
    case ChannelMessage::Kind::kEphemeral:
    case ChannelMessage::Kind::kPlain: {
      if (subscription->opening) return;
      const bool plain = message.kind == ChannelMessage::Kind::kPlain;
      const std::string_view type = key.kind == StreamKind::kRoom ? "message" : "notification";
      auto publication = plain ? parse_plain_publication(message.payload, type) : parse_publication(message.payload);
      if (!publication) {
        ++usage_.refused;
        return;
      }
      publication->keep = false;
      const std::uint64_t epoch = subscription->last.epoch;
      return sink_.on_event(key, epoch, {0, 0, std::make_shared<const Publication>(std::move(*publication))});
    }
    case ChannelMessage::Kind::kErased:
      if (!subscription->opening && subscription->last.epoch != message.position.epoch) {
        adopt(*subscription, message.position.epoch);
        complete(key, generation);
      }
      return;
    default:
      return;
  }
}

void RedisBroker::adopt(Subscription& subscription, std::uint64_t epoch) {
  if (subscription.last.epoch == epoch) return;
  if (subscription.retired.size() == kRetiredEpochs) subscription.retired.erase(subscription.retired.begin());
  subscription.retired.push_back(subscription.last.epoch);
  std::erase(subscription.retired, epoch);
  subscription.last = {epoch, 0};
  subscription.early.clear();
}

void RedisBroker::offer(const StreamKey& key, std::uint64_t generation, Event event) {
  Subscription* subscription = find(key, generation);
  if (subscription == nullptr) return;
  if (subscription->opening) {
    // Those that are dropped here come by the fill that the gap behind them asks for.
    if (subscription->before_open.size() < kMaxBeforeOpen) {
      subscription->before_open.push_back(std::move(event));
    } else {
      subscription->fill_again = true;
    }
    return;
  }
  if (event.position.epoch != subscription->last.epoch) {
    const auto& retired = subscription->retired;
    if (std::find(retired.begin(), retired.end(), event.position.epoch) != retired.end()) return;
    adopt(*subscription, event.position.epoch);
  } else if (subscription->is_going(event.position.epoch)) {
    return;  // of the past that is about to go
  }
  const std::uint64_t last = subscription->last.seq;
  if (event.position.seq <= last) return;
  if (event.position.seq != last + 1) {
    if (subscription->early.empty() && !subscription->filling) ++usage_.gaps;
    if (subscription->early.size() < kMaxEarly) subscription->early.emplace(event.position.seq, std::move(event));
    return fill(*subscription);
  }
  deliver(key, generation, event);
  drain_early(key, generation);
}

void RedisBroker::deliver(const StreamKey& key, std::uint64_t generation, const Event& event) {
  Subscription& subscription = *find(key, generation);
  subscription.last.seq = event.position.seq;
  sink_.on_event(key, event.position.epoch, {event.position.seq, event.id_ms, event.publication});
  complete(key, generation);
}

void RedisBroker::drain_early(const StreamKey& key, std::uint64_t generation) {
  while (Subscription* subscription = find(key, generation)) {
    auto& early = subscription->early;
    while (!early.empty() && early.begin()->first <= subscription->last.seq) early.erase(early.begin());
    if (early.empty() || early.begin()->first != subscription->last.seq + 1 ||
        subscription->is_going(subscription->last.epoch)) {
      return;
    }
    const Event next = std::move(early.begin()->second);
    early.erase(early.begin());
    deliver(key, generation, next);
  }
}

// --------------------------------------------------------------------------------------------------------------- gaps

void RedisBroker::on_resubscribed(const StreamKey& key) {
  Subscription* subscription = find(key);
  if (subscription == nullptr) return;
  if (subscription->opening) {
    subscription->fill_again = true;
  } else {
    fill(*subscription);
  }
}

void RedisBroker::fill(Subscription& subscription) {
  if (subscription.filling) {
    subscription.fill_again = true;
    return;
  }
  subscription.filling = true;
  subscription.fill_again = false;
  read(subscription.key,
       {.from = ReadRange::From::kSince, .seq = subscription.last.seq, .limit = kFillEvents, .max_bytes = kFillBytes},
       [this, key = subscription.key, generation = subscription.generation](const base::Result<Page>& page) {
         filled(key, generation, page);
       });
}

void RedisBroker::filled(const StreamKey& key, std::uint64_t generation, const base::Result<Page>& page) {
  Subscription* subscription = find(key, generation);
  if (subscription == nullptr) return;
  subscription->filling = false;
  if (!page) return look_again(*subscription);
  if (page->epoch != subscription->last.epoch) {
    const auto& retired = subscription->retired;
    if (std::find(retired.begin(), retired.end(), page->epoch) != retired.end()) return;
    // Another past than the one that was read after: all that there is of it is new.
    adopt(*subscription, page->epoch);
    complete(key, generation);
    subscription = find(key, generation);
    if (subscription != nullptr && page->head_seq != 0) fill(*subscription);
    return;
  }
  // What is kept no longer is lost to all: who reads on from before it is told so by the hub.
  if (page->first_seq > subscription->last.seq + 1) subscription->last.seq = page->first_seq - 1;
  for (const StoredEvent& event : page->events) {
    subscription = find(key, generation);
    if (subscription == nullptr || subscription->last.epoch != page->epoch || subscription->is_going(page->epoch)) {
      return;
    }
    if (event.seq == subscription->last.seq + 1) {
      deliver(key, generation, {{page->epoch, event.seq}, event.id_ms, event.publication});
    }
  }
  complete(key, generation);
  drain_early(key, generation);
  subscription = find(key, generation);
  if (subscription == nullptr) return;
  if (page->more || subscription->fill_again) return fill(*subscription);
  // Behind the head of what was read, yet told of: another fill will see it.
  if (!subscription->early.empty()) look_again(*subscription);
}

void RedisBroker::look_again(Subscription& subscription) {
  if (!std::exchange(subscription.listed, true)) {
    unsettled_.emplace_back(subscription.key, subscription.generation);
  }
}

void RedisBroker::sweep() {
  for (const auto& [key, generation] : std::exchange(unsettled_, {})) {
    Subscription* subscription = find(key, generation);
    if (subscription == nullptr) continue;
    subscription->listed = false;
    const bool late = !subscription->completions.empty() &&
                      clock_.steady_ms() - subscription->completions.front().since_ms >= kLateMs;
    if (late || !subscription->early.empty()) fill(*subscription);
    if (!subscription->completions.empty() || !subscription->early.empty()) look_again(*subscription);
  }
}

// --------------------------------------------------------------------------------------------------- read and erase

void RedisBroker::read(const StreamKey& key, const ReadRange& range, ReadDone done) {
  const Names names = names_of(key);
  const RetentionLimits& limits = rules_.limits_for(key);
  constexpr std::uint64_t kMaxSeq = 1ULL << 53;  // Lua's numbers
  std::string_view from = "newest";
  if (range.from == ReadRange::From::kSince) from = "since";
  if (range.from == ReadRange::From::kBefore) from = "before";
  Command command = Command::eval(scripts().read, 2, 7);
  command.add(names.head)
      .add(names.stream)
      .add(from)
      .add(std::min(range.seq, kMaxSeq))
      .add(std::min<std::uint64_t>(range.limit, 1'000'000))
      .add(std::min<std::uint64_t>(range.max_bytes, kMaxSeq))
      .add(clock_.unix_ms() - limits.age_ms)
      .add(base::to_hex(epoch_if_none(key)))
      .add(head_ttl_ms(limits));
  client_.send(names.channel, std::move(command),
               [done = std::make_unique<ReadDone>(std::move(done))](const base::Result<Reply>& reply) {
                 if (!reply) return (*done)(reply.error());
                 const Reply& answer = *reply;
                 Page page{.epoch = parse_hex(answer[0].text()),
                           .first_seq = answer[2].number(),
                           .head_seq = answer[1].number(),
                           .more = answer[3].integer() != 0,
                           .events = {}};
                 const Reply entries = answer[4];
                 page.events.reserve(entries.size() / 3);
                 for (std::size_t i = 0; i + 2 < entries.size(); i += 3) {
                   auto publication = parse_publication(entries[i + 2].text());
                   if (!publication) return (*done)(make_error_code(RedisError::kServer));
                   page.events.push_back({entries[i].number(), entries[i + 1].number(),
                                          std::make_shared<const Publication>(std::move(*publication))});
                 }
                 (*done)(std::move(page));
               });
}

void RedisBroker::erase(const StreamKey& key, EraseDone done) {
  const Names names = names_of(key);
  std::uint64_t generation = 0;
  if (Subscription* subscription = find(key)) {
    generation = subscription->generation;
    ++subscription->erasing;
    subscription->erased_epoch = subscription->last.epoch;
    subscription->early.clear();
  }
  Command command = Command::eval(scripts().erase, 2, 6);
  command.add(names.head)
      .add(names.stream)
      .add(client_.publish_verb())
      .add(names.channel)
      .add(base::to_hex(base::random_nonzero_u64()))
      .add(head_ttl_ms(rules_.limits_for(key)))
      .add(publisher_)
      .add(++counter_);
  client_.send(
      names.channel, std::move(command),
      [this, key, generation, done = std::make_unique<EraseDone>(std::move(done))](const base::Result<Reply>& reply) {
        if (Subscription* subscription = find(key, generation)) {
          --subscription->erasing;
          if (reply) {
            adopt(*subscription, parse_hex(reply->text()));
          } else {
            fill(*subscription);  // what was dropped since then, if it is still there
          }
          complete(key, generation);
        }
        if (!reply) return (*done)(reply.error());
        (*done)(Position{parse_hex(reply->text()), 0});
      });
  if (generation != 0) complete(key, generation);
}

}  // namespace hubbub::broker::redis
