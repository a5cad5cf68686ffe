#include "hubbub/broker/memory_broker.hpp"

#include <algorithm>
#include <cassert>
#include <utility>
#include <vector>

#include "hubbub/base/random.hpp"

namespace hubbub::broker {

namespace {

constexpr std::size_t kBlockBytes = 16;      // what the allocator adds to a block, rounded up
constexpr std::size_t kInlineChars = 15;     // a std::string up to here needs no block
constexpr std::size_t kTableSlotBytes = 48;  // a table is between half and seven eighths full
constexpr std::size_t kIndexSlotBytes = 16;
constexpr std::size_t kRingSlotBytes = 2 * sizeof(std::shared_ptr<void>);  // a ring is at least half full, or nearly

std::size_t heap_bytes(const std::string& text) noexcept {
  return text.capacity() <= kInlineChars ? 0 : text.capacity() + 1 + kBlockBytes;
}

}  // namespace

std::size_t MemoryBroker::DedupeHash::operator()(const DedupeRef& ref) const noexcept {
  return base::SharedString::hash_of(ref.key) ^ ref.stream->key.id.hash();
}

MemoryBroker::MemoryBroker(const base::Clock& clock, const MemoryBrokerLimits& limits, BrokerSink& sink)
    : clock_(clock),
      limits_(limits),
      rules_({limits.retain_count, limits.retain_age_ms, limits.retain_bytes}, limits.retain_rules),
      sink_(sink),
      events_by_rule_(rules_.size()) {
  assert(rules_.size() <= kRetentionRulesMax + 1);
  for (std::uint64_t& epoch : fresh_epochs_) epoch = base::random_nonzero_u64();
}

MemoryBroker::~MemoryBroker() {
  // Blocks outlive us in readers' hands; no link may lead from them to what goes now.
  for (Events& events : events_by_rule_) events.clear();
  idle_.clear();
  while (!dedupe_keys_.empty()) forget_dedupe_key(dedupe_keys_.front(), 0);
  idle_.clear();
}

// HOT PATH
void MemoryBroker::publish(const StreamKey& key, Publication publication, PublishDone done) {
  if (!publication.keep) return carry(key, std::move(publication), std::move(done));
  const std::int64_t now_ms = clock_.steady_ms();
  Published answer;
  Stream& stream = stream_for_publish(key, answer.position.epoch);
  StoredEvent event;
  bool subscribed = false;

  const DedupeKey* first =
      publication.dedupe_key.empty() ? nullptr : find_duplicate(stream, publication.dedupe_key, now_ms);
  if (first != nullptr) {
    answer.duplicate = true;
    answer.position.seq = first->seq;
    answer.id_ms = first->id_ms;
  } else {
    const auto unix_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(publication.unix_ms, 0));
    stream.last_id_ms = std::max(stream.last_id_ms, unix_ms);
    answer.position.seq = ++stream.head_seq;
    answer.id_ms = stream.last_id_ms;
    subscribed = stream.subscribed;

    std::string dedupe_key = std::exchange(publication.dedupe_key, {});
    if (!dedupe_key.empty()) remember(stream, std::move(dedupe_key), answer.id_ms, now_ms);
    auto kept = std::make_shared<Kept>();
    kept->publication = std::move(publication);
    kept->id_ms = answer.id_ms;
    kept->kept_ms = now_ms;
    kept->stream = &stream;
    event = {answer.position.seq, answer.id_ms, {kept, &kept->publication}};
    keep(stream, std::move(kept), now_ms);
    update_idle(stream, now_ms);
    // As sweep is bounded, it would fall behind a publisher that keeps on.
    forget_aged_events(stream.rule, now_ms, 2);
    forget_aged_dedupe_keys(now_ms, 2);
    enforce_total(now_ms);
  }
  // From here on `stream` may be gone, and `key` too once the sink has been called.

  if (answering_) {
    waiting_.push_back({key, std::move(event), answer, std::move(done)});
    return;
  }
  answering_ = true;
  if (subscribed) sink_.on_event(key, answer.position.epoch, event);
  done(answer);
  if (!waiting_.empty()) answer_waiting();
  answering_ = false;
}

void MemoryBroker::carry(const StreamKey& key, Publication publication, PublishDone done) {
  const Entry* entry = find(key);
  const bool subscribed = entry != nullptr && (entry->stream == nullptr || entry->stream->subscribed);
  const Published answer{.position = {entry != nullptr ? entry->epoch : fresh_epoch(key), 0}};
  StoredEvent event;
  if (subscribed) event.publication = std::make_shared<const Publication>(std::move(publication));
  if (answering_) {
    waiting_.push_back({key, std::move(event), answer, std::move(done)});
    return;
  }
  answering_ = true;
  if (subscribed) sink_.on_event(key, answer.position.epoch, event);
  done(answer);
  if (!waiting_.empty()) answer_waiting();
  answering_ = false;
}

void MemoryBroker::answer_waiting() {
  while (!waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    if (wanted(next)) sink_.on_event(next.key, next.answer.position.epoch, next.event);
    next.done(next.answer);
  }
}

// Somebody may have unsubscribed meanwhile, or subscribed and been told a later position.
bool MemoryBroker::wanted(const Waiting& waiting) noexcept {
  if (waiting.event.publication == nullptr) return false;
  const Entry* entry = find(waiting.key);
  if (entry == nullptr || entry->epoch != waiting.answer.position.epoch) return false;
  if (waiting.event.seq == 0) return entry->stream == nullptr || entry->stream->subscribed;
  return entry->stream != nullptr && entry->stream->subscribed && entry->stream->subscribed_after < waiting.event.seq;
}

void MemoryBroker::subscribe(const StreamKey& key, SubscribeDone done) {
  Entry& entry = table(key.kind).try_emplace(key.id).first->second;
  Position position{entry.epoch, 0};
  ++usage_.subscriptions;
  if (entry.stream != nullptr) {
    Stream& stream = *entry.stream;
    assert(!stream.subscribed);
    stream.subscribed = true;
    stream.subscribed_after = position.seq = stream.head_seq;
    update_idle(stream, 0);
  } else {
    assert(entry.epoch == 0 && "subscribed already");
    entry.epoch = position.epoch = fresh_epoch(key);
  }
  done(position);
}

void MemoryBroker::unsubscribe(const StreamKey& key) {
  Table& streams = table(key.kind);
  const auto it = streams.find(key.id);
  if (it == streams.end()) return;
  Stream* stream = it->second.stream.get();
  if (stream == nullptr) {
    streams.erase(it);
  } else {
    if (!stream->subscribed) return;
    stream->subscribed = false;
    update_idle(*stream, clock_.steady_ms());
  }
  --usage_.subscriptions;
}

void MemoryBroker::read(const StreamKey& key, const ReadRange& range, ReadDone done) {
  Page page;
  const Entry* entry = find(key);
  page.epoch = entry != nullptr ? entry->epoch : fresh_epoch(key);
  const Stream* stream = entry != nullptr ? entry->stream.get() : nullptr;
  if (stream == nullptr) {
    page.first_seq = 1;
    done(std::move(page));
    return;
  }
  page.first_seq = stream->first_seq();
  page.head_seq = stream->head_seq;

  // [low, high): what is retained of the range.
  std::uint64_t low = page.first_seq;
  std::uint64_t high = page.head_seq + 1;
  if (range.from == ReadRange::From::kSince) {
    low = range.seq >= page.head_seq ? high : std::max(low, range.seq + 1);
  } else if (range.from == ReadRange::From::kBefore) {
    high = std::clamp(range.seq, low, high);
  }
  const bool forward = range.from == ReadRange::From::kSince;
  const std::size_t count = std::min<std::uint64_t>(range.limit, high - low);
  page.events.reserve(std::min<std::size_t>(count, 512));
  std::size_t bytes = 0;
  while (page.events.size() < count && bytes <= range.max_bytes) {
    const std::uint64_t seq = forward ? low + page.events.size() : high - 1 - page.events.size();
    const std::shared_ptr<Kept>& kept = stream->events[seq - page.first_seq];
    bytes += kept->publication.body.size();
    page.events.push_back({seq, kept->id_ms, {kept, &kept->publication}});
  }
  page.more = page.events.size() < high - low;
  if (!forward) std::reverse(page.events.begin(), page.events.end());
  done(std::move(page));
}

void MemoryBroker::erase(const StreamKey& key, EraseDone done) {
  std::uint64_t& fresh = fresh_epoch(key);
  Entry* entry = find(key);
  if (entry != nullptr && entry->stream != nullptr) {
    Stream& stream = *entry->stream;
    const bool subscribed = stream.subscribed;
    forget_all(stream, clock_.steady_ms());
    if (subscribed) {
      bytes_ -= stream_cost(stream.key);
      --usage_.streams;
      ++usage_.dropped_streams;
      entry->stream.reset();
    } else {
      drop(stream);
      entry = nullptr;
    }
  }
  fresh = base::random_nonzero_u64();
  if (entry != nullptr) entry->epoch = fresh;
  done(Position{fresh, 0});
}

void MemoryBroker::sweep() {
  constexpr std::size_t kAtMost = 20'000;  // a few milliseconds; the rest waits for the next one
  const std::int64_t now_ms = clock_.steady_ms();
  // Each time another rule comes first, so that none with much to drop keeps the others waiting.
  std::size_t left = kAtMost;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    left -= forget_aged_events((first_swept_ + i) % rules_.size(), now_ms, left);
  }
  first_swept_ = (first_swept_ + 1) % rules_.size();
  forget_aged_dedupe_keys(now_ms, kAtMost);
  for (std::size_t n = 0; n < kAtMost && !idle_.empty(); ++n) {
    if (now_ms - idle_.front().idle_since_ms < limits_.idle_linger_ms) break;
    drop(idle_.front());
  }
}

MemoryBroker::Usage MemoryBroker::usage() const noexcept {
  Usage usage = usage_;
  usage.bytes = bytes_;
  return usage;
}

MemoryBroker::Entry* MemoryBroker::find(const StreamKey& key) noexcept {
  Table& streams = table(key.kind);
  const auto it = streams.find(key.id);
  return it == streams.end() ? nullptr : &it->second;
}

std::size_t MemoryBroker::stream_cost(const StreamKey& key) noexcept {
  return sizeof(Stream) + kTableSlotBytes + key.id.view().size() + 3 * kBlockBytes;
}

std::uint64_t& MemoryBroker::fresh_epoch(const StreamKey& key) noexcept {
  return fresh_epochs_[(key.id.hash() >> 32) % fresh_epochs_.size()];
}

MemoryBroker::Stream& MemoryBroker::stream_for_publish(const StreamKey& key, std::uint64_t& epoch) {
  const auto [it, inserted] = table(key.kind).try_emplace(key.id);
  Entry& entry = it->second;
  if (inserted) entry.epoch = fresh_epoch(key);
  epoch = entry.epoch;
  if (entry.stream == nullptr) {
    entry.stream = std::make_unique<Stream>();
    entry.stream->key = key;
    entry.stream->subscribed = !inserted;
    entry.stream->rule = static_cast<std::uint16_t>(rules_.index_for(key));
    ++usage_.streams;
    bytes_ += stream_cost(key);
  } else if (entry.stream->idle.is_linked()) {
    idle_.erase(idle_.iterator_to(*entry.stream));  // comes back at the end, if at all
  }
  return *entry.stream;
}

const MemoryBroker::DedupeKey* MemoryBroker::find_duplicate(Stream& stream, std::string_view key, std::int64_t now_ms) {
  const auto it = dedupe_index_.find(DedupeRef{&stream, key});
  if (it == dedupe_index_.end()) return nullptr;
  DedupeKey& found = **it;
  if (now_ms - found.seen_ms < limits_.dedupe_window_ms) return &found;
  forget_dedupe_key(found, now_ms);
  return nullptr;
}

void MemoryBroker::remember(Stream& stream, std::string key, std::uint64_t id_ms, std::int64_t now_ms) {
  if (limits_.dedupe_max == 0 || limits_.dedupe_window_ms <= 0) return;
  while (stream.dedupe_count >= limits_.dedupe_max) forget_dedupe_key(stream.dedupe_keys.front(), now_ms);
  key.shrink_to_fit();
  auto owned = std::make_unique<DedupeKey>();
  owned->key = std::move(key);
  owned->stream = &stream;
  owned->seq = stream.head_seq;
  owned->id_ms = id_ms;
  owned->seen_ms = now_ms;
  dedupe_index_.insert(owned.get());
  DedupeKey& added = *owned.release();  // owned by the lists; forget_dedupe_key frees it
  dedupe_keys_.push_back(added);
  stream.dedupe_keys.push_back(added);
  ++stream.dedupe_count;
  ++usage_.dedupe_keys;
  added.bytes = sizeof(DedupeKey) + kBlockBytes + heap_bytes(added.key) + kIndexSlotBytes;
  dedupe_bytes_ += added.bytes;
  bytes_ += added.bytes;
}

void MemoryBroker::forget_dedupe_key(DedupeKey& key, std::int64_t now_ms) {
  Stream& stream = *key.stream;
  dedupe_index_.erase(&key);
  dedupe_keys_.erase(dedupe_keys_.iterator_to(key));
  stream.dedupe_keys.erase(stream.dedupe_keys.iterator_to(key));
  --stream.dedupe_count;
  --usage_.dedupe_keys;
  dedupe_bytes_ -= key.bytes;
  bytes_ -= key.bytes;
  delete &key;
  update_idle(stream, now_ms);
}

void MemoryBroker::keep(Stream& stream, std::shared_ptr<Kept> kept, std::int64_t now_ms) {
  std::string& body = kept->publication.body;
  if (body.capacity() > body.size() + body.size() / 4 + 64) body.shrink_to_fit();  // what is kept for a day
  auto& ring = stream.events;
  const RetentionLimits& limits = rules_.limits(stream.rule);
  if (ring.size() == limits.count && !ring.empty()) forget_oldest_event(stream, now_ms);  // the ring won't grow
  kept->bytes = sizeof(Kept) + 2 * kBlockBytes + kRingSlotBytes + heap_bytes(body) + heap_bytes(kept->publication.type);
  if (const auto& user = kept->publication.exclude_user; !user.empty()) kept->bytes += user.view().size() + kBlockBytes;
  stream.bytes += kept->bytes;
  bytes_ += kept->bytes;
  ++usage_.events;
  events_by_rule_[stream.rule].push_back(*kept);
  if (ring.full()) ring.set_capacity(std::max<std::size_t>(4, ring.capacity() * 2));
  ring.push_back(std::move(kept));
  // One that is too large takes itself along: a stream ends in its newest event or is empty, it has no holes.
  while (!ring.empty() && (ring.size() > limits.count || stream.bytes > limits.bytes)) {
    forget_oldest_event(stream, now_ms);
  }
}

void MemoryBroker::forget_oldest_event(Stream& stream, std::int64_t now_ms) {
  auto& ring = stream.events;
  Kept& oldest = *ring.front();
  events_by_rule_[stream.rule].erase(Events::s_iterator_to(oldest));
  stream.bytes -= oldest.bytes;
  bytes_ -= oldest.bytes;
  --usage_.events;
  ring.pop_front();
  if (ring.empty()) {
    ring.set_capacity(0);
    update_idle(stream, now_ms);
  } else if (ring.capacity() > 8 && ring.size() < ring.capacity() / 4) {
    ring.set_capacity(ring.capacity() / 2);
  }
}

void MemoryBroker::forget_all(Stream& stream, std::int64_t now_ms) {
  while (!stream.dedupe_keys.empty()) forget_dedupe_key(stream.dedupe_keys.front(), now_ms);
  while (!stream.events.empty()) forget_oldest_event(stream, now_ms);
}

std::size_t MemoryBroker::forget_aged_events(std::size_t rule, std::int64_t now_ms, std::size_t at_most) {
  const Events& events = events_by_rule_[rule];
  std::size_t forgotten = 0;
  while (forgotten < at_most && !events.empty() && now_ms - events.front().kept_ms >= rules_.limits(rule).age_ms) {
    forget_oldest_event(*events.front().stream, now_ms);
    ++forgotten;
  }
  return forgotten;
}

void MemoryBroker::forget_aged_dedupe_keys(std::int64_t now_ms, std::size_t at_most) {
  for (std::size_t n = 0; n < at_most && !dedupe_keys_.empty(); ++n) {
    if (now_ms - dedupe_keys_.front().seen_ms < limits_.dedupe_window_ms) break;
    forget_dedupe_key(dedupe_keys_.front(), now_ms);
  }
}

MemoryBroker::Kept* MemoryBroker::oldest_event() noexcept {
  Kept* oldest = nullptr;
  for (Events& events : events_by_rule_) {
    if (events.empty()) continue;
    if (oldest == nullptr || events.front().kept_ms < oldest->kept_ms) oldest = &events.front();
  }
  return oldest;
}

void MemoryBroker::enforce_total(std::int64_t now_ms) {
  // A quarter for keys: they must not push out what they guard.
  while (dedupe_bytes_ > limits_.total_bytes / 4) forget_dedupe_key(dedupe_keys_.front(), now_ms);
  while (bytes_ > limits_.total_bytes) {
    if (!idle_.empty()) {
      drop(idle_.front());
    } else if (const Kept* oldest = oldest_event()) {
      ++usage_.evicted_events;
      forget_oldest_event(*oldest->stream, now_ms);
    } else if (!dedupe_keys_.empty()) {
      forget_dedupe_key(dedupe_keys_.front(), now_ms);
    } else {
      break;  // what is left are streams with subscribers, and the hub bounds those
    }
  }
}

void MemoryBroker::update_idle(Stream& stream, std::int64_t now_ms) {
  const bool idle = !stream.subscribed && stream.events.empty() && stream.dedupe_count == 0;
  if (idle == stream.idle.is_linked()) return;
  if (idle) {
    stream.idle_since_ms = now_ms;
    idle_.push_back(stream);
  } else {
    idle_.erase(idle_.iterator_to(stream));
  }
}

void MemoryBroker::drop(Stream& stream) {
  idle_.erase(idle_.iterator_to(stream));
  fresh_epoch(stream.key) = base::random_nonzero_u64();
  bytes_ -= stream_cost(stream.key);
  --usage_.streams;
  ++usage_.dropped_streams;
  Table& streams = table(stream.key.kind);
  streams.erase(streams.find(stream.key.id));
}

}  // namespace hubbub::broker
