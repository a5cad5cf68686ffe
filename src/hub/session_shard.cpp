#include "hubbub/hub/session_shard.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "hubbub/base/random.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/protocol/event.hpp"

// The session's side of the ConnectionManager: membership, fan-out, pressure. Commands are in session_commands.cpp.
namespace hubbub::hub {

namespace {

// Ephemera give way long before kept events do: they are worth the least and come the most.
constexpr std::size_t kEphemeralShare = 8;
constexpr std::size_t kMaxConflated = 256;
constexpr std::size_t kMaxAnswersShare = 4;
constexpr std::size_t kRefillMaxBytes = 128 * 1024;
constexpr std::int64_t kRefillRetryMs = 1'000;
// Pages asked for at a time. When a shard's mailbox was full all its members are behind at once, and a page for each of
// them would answer overload with more load.
constexpr std::size_t kMaxRefills = 64;

std::size_t index_of(TopicKind kind) { return static_cast<std::size_t>(kind); }

}  // namespace

SessionShard::SessionShard(ConnectionManager& manager, runtime::Shard& shard)
    : manager_(manager),
      shard_(shard),
      limits_(manager.limits()),
      framer_(limits_.compression_min_bytes, limits_.compression_level) {
  retry_timer_.side = this;
  retry_timer_.on_expire = [](base::Timer& timer) { static_cast<RetryTimer&>(timer).side->retry_refills(); };
  shard_.set_before_flush([this] {
    seal_all();
    if (!continuing_.empty()) continue_refills();
    if (!awaiting_refill_.empty()) start_waiting_refills();
    if (has_debts_.load(std::memory_order_relaxed)) settle_debts();
  });
}

SessionShard::~SessionShard() {
  shard_.wheel().cancel(retry_timer_);
  for (const auto& session : sessions_) {
    if (session && session->pressure_) shard_.wheel().cancel(*session->pressure_);
  }
}

Session& SessionShard::open(base::SharedString user, Framing framing, Outbound& outbound,
                            std::unique_ptr<Resume> resume) {
  std::uint32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<std::uint32_t>(sessions_.size());
    sessions_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  assert(slot <= 0xffffff);  // max_sessions has a maximum well below
  const SessionId id = static_cast<SessionId>(shard_.index()) << 56 | static_cast<SessionId>(slot) << 32 |
                       ((base::random_u64() & 0xffffffff) | 1);
  sessions_[slot] = std::make_unique<Session>(*this, id, std::move(user), framing, outbound);
  Session& session = *sessions_[slot];
  counters_.sessions.add();

  Topic& inbox = topic_for(TopicKind::kInbox, session.user_.view());
  // The topic's id is the session's user: one string, however many sessions.
  session.user_ = inbox.id;
  Membership& membership = add_membership(session, inbox);
  auto request = std::make_unique<AttachRequest>();
  request->asker.session = id;
  request->kind = TopicKind::kInbox;
  request->topic = inbox.id;
  request->user = inbox.id;
  request->attempt = membership.sent_seq;
  request->lingers = framing == Framing::kSse || framing == Framing::kPoll;
  if (resume) {
    request->cursor = resume->cursor_text;
    if (const protocol::CursorEntry* entry = resume->cursor.find({})) {
      request->since = entry->seq;
      request->epoch = base::to_hex(entry->epoch);
    }
    if (!resume->cursor.entries.empty()) resuming_[id] = resume->cursor.entries;
    held_[id].resume = std::move(resume);
  }
  manager_.post_home(inbox.id, [r = std::move(request)](HomeShard& home) mutable { home.attach(std::move(r)); });
  return session;
}

void SessionShard::close(Session& session) {
  if (session.pressure_) {
    shard_.wheel().cancel(*session.pressure_);
    --pressured_;
  }
  while (!session.memberships_.empty()) {
    Membership& membership = session.memberships_.back();
    const Topic& topic = *membership.topic;
    if (!manager_.stopping()) {
      manager_.post_home(topic.id, [request = DetachRequest{session.id_, topic.kind, topic.id, session.user_}](
                                       HomeShard& home) mutable { home.detach(std::move(request)); });
    }
    drop_membership(session, membership);
  }
  if (!held_.empty()) held_.erase(session.id_);
  if (!resuming_.empty()) resuming_.erase(session.id_);
  if (!calls_.empty()) end_calls(session.id_);
  counters_.sessions.sub();
  const std::size_t slot = slot_of(session.id_);
  sessions_[slot].reset();
  free_slots_.push_back(static_cast<std::uint32_t>(slot));
}

Session* SessionShard::find_session(SessionId id) {
  const std::size_t slot = slot_of(id);
  if (slot >= sessions_.size() || !sessions_[slot] || sessions_[slot]->id_ != id) return nullptr;
  return sessions_[slot].get();
}

// ------------------------------------------------------------------------------------------------------- membership

Topic& SessionShard::topic_for(TopicKind kind, std::string_view id) {
  if (Topic* known = find_topic(kind, id)) return *known;
  return topics_[index_of(kind)].add(std::make_unique<Topic>(kind, base::SharedString(id)));
}

void SessionShard::drop_if_unused(const Topic& topic) {
  if (topic.memberships != 0) return;
  if (topic.listed) std::erase(open_topics_, &topic);
  topics_[index_of(topic.kind)].erase(topic);
}

Membership* SessionShard::find_membership(Session& session, const Topic* topic) {
  if (topic == nullptr) return nullptr;
  for (Membership& membership : session.memberships_) {
    if (membership.topic == topic) return &membership;
  }
  return nullptr;
}

Membership& SessionShard::add_membership(Session& session, Topic& topic) {
  if (session.memberships_.capacity() == 0) session.memberships_.reserve(2);  // an inbox and a room
  ++topic.memberships;
  return session.memberships_.emplace_back(Membership{&topic, next_attempt_++, 0, 0, Membership::State::kJoining});
}

void SessionShard::drop_membership(Session& session, Membership& membership) {
  Topic& topic = *membership.topic;
  if (session.pressure_) {
    std::erase_if(session.pressure_->conflated, [&](const auto& waiting) { return waiting.topic == &topic; });
  }
  if (membership.state != Membership::State::kJoining) {
    if (membership.index < topic.live) {
      make_lagging(session, membership);
    }
    swap_members(topic, membership.index, static_cast<std::uint32_t>(topic.members.size() - 1));
    topic.members.pop_back();
  }
  if (&membership != &session.memberships_.back()) {
    membership = session.memberships_.back();
    if (membership.state != Membership::State::kJoining) {
      membership.topic->members[membership.index].slot =
          static_cast<std::uint32_t>(&membership - session.memberships_.data());
    }
  }
  session.memberships_.pop_back();
  --topic.memberships;
  drop_if_unused(topic);
}

void SessionShard::swap_members(Topic& topic, std::uint32_t a, std::uint32_t b) {
  if (a == b) return;
  std::swap(topic.members[a], topic.members[b]);
  topic.members[a].session->memberships_[topic.members[a].slot].index = a;
  topic.members[b].session->memberships_[topic.members[b].slot].index = b;
}

void SessionShard::add_member(Session& session, Membership& membership, bool live) {
  Topic& topic = *membership.topic;
  membership.index = static_cast<std::uint32_t>(topic.members.size());
  topic.members.push_back({&session, static_cast<std::uint32_t>(&membership - session.memberships_.data())});
  membership.state = Membership::State::kLagging;
  if (live) make_live(session, membership);
}

void SessionShard::make_live(Session& session, Membership& membership) {
  Topic& topic = *membership.topic;
  swap_members(topic, membership.index, topic.live++);
  membership.state = Membership::State::kLive;
  if (topic.open) {
    // The turn's batch is under way: this member reads it from here on.
    runtime::BatchRef& batch = topic.open->batch[static_cast<std::size_t>(session.framing_)];
    if (!batch) batch = shard_.batches().acquire();
    session.outbound_->deliver(batch, static_cast<std::uint32_t>(batch->bytes.size()));
  }
}

void SessionShard::make_lagging(Session& session, Membership& membership) {
  Topic& topic = *membership.topic;
  if (topic.open) {
    for (const runtime::BatchRef& batch : topic.open->batch) {
      if (batch) session.outbound_->cut(batch.get());
    }
  }
  swap_members(topic, membership.index, --topic.live);
  membership.state = Membership::State::kLagging;
  membership.sent_seq = topic.last_seq;
}

/// There are events up to `seq`, and not all of them come by mail: what members were not sent they read from the
/// stream.
void SessionShard::advance(Topic& topic, std::uint64_t seq) {
  if (seq <= topic.last_seq) return;
  lag_all(topic);
  topic.last_seq = seq;
}

void SessionShard::lag_all(Topic& topic) {
  while (topic.live != 0) {
    const Topic::Member member = topic.members[0];
    make_lagging(*member.session, member.session->memberships_[member.slot]);
    if (!member.session->pressure_) refill_next(*member.session);
  }
}

void SessionShard::attached(const Attached& answer) {
  Session* session = find_session(answer.session);
  if (session == nullptr) return;  // it went meanwhile, and its detach followed its attach
  const bool was_attached = session->attached_;
  take_attached(*session, answer);
  if (answer.heavy) --session->heavy_;
  if (session->attached_ && !was_attached) {
    const auto held = held_.find(session->id_);
    if (held == held_.end()) return;
    const std::unique_ptr<Resume> resume = std::move(held->second.resume);
    if (!session->holds_) held_.erase(held);
    if (resume) join_resumed(*session, *resume);
  }
  proceed(*session);
}

void SessionShard::take_attached(Session& session, const Attached& answer) {
  if (answer.refused) return dismiss(session, protocol::CloseCode::kTooManySessions);
  if (!answer.json.empty()) {
    if (answer.call != 0) record_answer(answer.call, answer.json);
    // Also in the stream: `joined` comes before the room's first event there too.
    if (answer.call == 0 || !answer.error) send(session, answer.json);
  }
  Membership* membership = find_membership(session, find_topic(answer.kind, answer.topic));
  if (answer.already || membership == nullptr || membership->state != Membership::State::kJoining ||
      membership->sent_seq != answer.attempt) {
    return;
  }
  if (answer.error) {
    if (answer.kind == TopicKind::kWatch) --session.watches_;
    if (answer.kind == TopicKind::kInbox) dismiss(session, protocol::CloseCode::kInternalError);
    if (answer.kind == TopicKind::kRoom) {  // a leave for each join, also a failed one
      manager_.post_home(answer.topic, [request = DetachRequest{session.id_, answer.kind, answer.topic, session.user_}](
                                           HomeShard& home) mutable { home.detach(std::move(request)); });
    }
    drop_membership(session, *membership);
    return;
  }
  Topic& topic = *membership->topic;
  if (topic.epoch != 0 && topic.epoch != answer.epoch && answer.epoch != 0) begin_epoch(topic, answer.epoch);
  topic.epoch = answer.epoch;
  membership->from_seq = answer.replay_after.value_or(answer.seq);
  if (answer.kind != TopicKind::kWatch && !resuming_.empty()) {
    if (const auto resuming = resuming_.find(session.id_); resuming != resuming_.end()) {
      const std::string_view room = answer.kind == TopicKind::kInbox ? std::string_view{} : topic.id.view();
      std::erase_if(resuming->second, [&](const protocol::CursorEntry& entry) { return entry.room_id == room; });
      if (resuming->second.empty()) resuming_.erase(resuming);
    }
  }
  advance(topic, answer.seq);  // others were not sent it if the mailbox was full
  // A session that is behind already is in no state to take part live: it goes on where its refill will start.
  const bool behind = session.pressure_ && session.pressure_->marked;
  if (answer.kind == TopicKind::kInbox) session.attached_ = true;
  const bool owes = answer.replay_after || answer.seq < topic.last_seq;
  const bool live = answer.kind == TopicKind::kWatch || (!owes && !behind);
  add_member(session, *membership, live);
  if (!live) {
    membership->sent_seq = answer.replay_after.value_or(answer.seq);
    if (!behind) refill_next(session);
  }
}

// ------------------------------------------------------------------------------------- connections that come and go

void SessionShard::join_resumed(Session& session, const Resume& resume) {
  for (const protocol::CursorEntry& entry : resume.cursor.entries) {
    if (entry.room_id.empty()) continue;
    if (!join(session, entry.room_id, {session.id_}, entry.seq, base::to_hex(entry.epoch))) {
      error(session, {}, protocol::ErrorCode::kTooManyRooms);
    }
  }
  for (const std::string& room : resume.rooms) {
    if (resume.cursor.find(room) != nullptr) continue;
    if (!join(session, room, {session.id_}, std::nullopt, {})) {
      error(session, {}, protocol::ErrorCode::kTooManyRooms);
    }
  }
}

void SessionShard::suspend(Session& session) {
  if (!session.pressure_) {
    session.pressure_ = std::make_unique<Pressure>();
    session.pressure_->session = &session;
    ++pressured_;
  }
  shard_.wheel().cancel(*session.pressure_);  // who is away is not slow; the transport's linger ends it
  session.pressure_->marked = session.pressure_->suspended = true;
  for (Membership& membership : session.memberships_) {
    if (membership.topic->kind == TopicKind::kWatch) continue;
    if (membership.state == Membership::State::kLive) make_lagging(session, membership);
    if (membership.state == Membership::State::kRefilling) membership.state = Membership::State::kLagging;
  }
}

void SessionShard::resume(Session& session, const protocol::Cursor* cursor, bool announce) {
  const std::unique_ptr<Pressure> pressure = std::move(session.pressure_);
  if (pressure) {
    shard_.wheel().cancel(*pressure);
    --pressured_;
  }
  if (announce) send_connected(session, cursor);
  for (Membership& membership : session.memberships_) {
    if (membership.topic->kind == TopicKind::kWatch || membership.state == Membership::State::kJoining) continue;
    if (cursor != nullptr) rewind(session, membership, *cursor);
    if (membership.state == Membership::State::kLive) continue;
    membership.state = Membership::State::kLagging;
    if (membership.sent_seq == membership.topic->last_seq) make_live(session, membership);
  }
  if (pressure) {
    for (const auto& waiting : pressure->conflated) send(session, waiting.event->json, true);
  }
  refill_next(session);
}

/// Back to where the cursor says that the client is: what was sent since then may not have arrived.
void SessionShard::rewind(Session& session, Membership& membership, const protocol::Cursor& cursor) {
  const Topic& topic = *membership.topic;
  const std::string_view room = topic.kind == TopicKind::kRoom ? topic.id.view() : std::string_view{};
  const protocol::CursorEntry* entry = cursor.find(room);
  const std::uint64_t target = entry == nullptr ? membership.from_seq : entry->seq;
  // A room that the cursor does not know: the client may never have heard that it joined.
  if (entry == nullptr && topic.kind == TopicKind::kRoom) join(session, room, {session.id_}, std::nullopt, {});
  if (entry != nullptr && (entry->epoch != topic.epoch || entry->seq > topic.last_seq)) {
    scratch_.clear();
    protocol::append_event(scratch_, protocol::ErrorEvent{.code = protocol::ErrorCode::kBadCursor, .room_id = room});
    return send(session, scratch_, true);
  }
  if (membership.state == Membership::State::kLive) {
    if (target == topic.last_seq) return;
    make_lagging(session, membership);
  }
  membership.sent_seq = target;
}

void SessionShard::send_connected(Session& session, const protocol::Cursor* cursor) {
  const std::string id = manager_.session_text(session.id_);
  const std::string key = manager_.session_key(session.id_);
  cursor_text_.clear();
  if (cursor == nullptr) {
    append_cursor(session, manager_.session_key_tag(session.id_), cursor_text_);
  } else {
    protocol::CursorWriter writer(cursor_scratch_, cursor->session, cursor->key_tag);
    for (const protocol::CursorEntry& entry : cursor->entries) writer.add(entry.room_id, entry.epoch, entry.seq);
    writer.finish(cursor_text_, session.user_.view());
  }
  scratch_.clear();
  protocol::append_event(scratch_,
                         protocol::ConnectedEvent{.session_id = id,
                                                  .session_key = key,
                                                  .user_id = session.user_.view(),
                                                  .server_id = limits_.server_id,
                                                  .heartbeat_ms = static_cast<std::uint64_t>(limits_.heartbeat_ms),
                                                  .cursor = cursor_text_,
                                                  .resumed = true});
  send(session, scratch_);
}

void SessionShard::append_cursor(const Session& session, std::uint64_t key_tag, std::string& out,
                                 std::uint64_t answer) {
  protocol::CursorWriter writer(cursor_scratch_, key_tag == 0 ? 0 : session.id_, key_tag, answer);
  for (const Membership& membership : session.memberships_) {
    const Topic& topic = *membership.topic;
    if (topic.kind == TopicKind::kWatch || membership.state == Membership::State::kJoining) continue;
    writer.add(topic.kind == TopicKind::kRoom ? topic.id.view() : std::string_view{}, topic.epoch,
               membership.state == Membership::State::kLive ? topic.last_seq : membership.sent_seq);
  }
  if (!resuming_.empty()) {
    if (const auto resuming = resuming_.find(session.id_); resuming != resuming_.end()) {
      for (const auto& entry : resuming->second) writer.add(entry.room_id, entry.epoch, entry.seq);
    }
  }
  writer.finish(out, session.user_.view());
}

// ---------------------------------------------------------------------------------------------------------- fan-out

OpenBatches& SessionShard::open_batches(Topic& topic, Lane lane) {
  if (topic.open) {
    if (topic.open->lane == lane) return *topic.open;
    // Batches hold one lane each, so that a slow reader can be spared one and sent the other; a new batch keeps order.
    seal(topic);
  }
  if (!topic.listed) open_topics_.push_back(&topic);
  topic.listed = true;
  topic.open = std::make_unique<OpenBatches>();
  topic.open->lane = lane;
  const Topic::Member* const members = topic.members.data();
  for (std::uint32_t i = 0; i < topic.live; ++i) {
    Session& session = *members[i].session;
    runtime::BatchRef& batch = topic.open->batch[static_cast<std::size_t>(session.framing_)];
    if (!batch) batch = shard_.batches().acquire();
    session.outbound_->deliver(batch, 0);
  }
  return *topic.open;
}

// HOT PATH: the first event of a turn costs a pointer a member; those that follow cost their bytes once, not once a
// member.
void SessionShard::deliver(TopicKind kind, const base::SharedString& id, const EventRef& event) {
  Topic* found = find_topic(kind, id);
  if (found == nullptr) return;
  Topic& topic = *found;
  if (event->seq != 0) {
    if (event->epoch != topic.epoch && event->epoch != 0 && topic.epoch != 0) begin_epoch(topic, event->epoch);
    if (event->seq <= topic.last_seq) return;  // an attach has been ahead of it
    advance(topic, event->seq - 1);
    topic.last_seq = event->seq;
  }
  const bool kept = event->lane == Lane::kKept;
  if (kept ? topic.live == 0 : topic.members.empty()) return;
  if (!event->is_for_all() || (!kept && (pressured_ != 0 || topic.live != topic.members.size()))) {
    deliver_one_by_one(topic, *event, event);
    return;
  }
  OpenBatches& open = open_batches(topic, event->lane);
  for (std::size_t framing = 0; framing < kFramingCount; ++framing) {
    if (open.batch[framing]) framer_.append(open.batch[framing]->bytes, static_cast<Framing>(framing), *event);
  }
  counters_.deliveries.add(topic.live);
}

/// The stream has lost its past and counts anew: so do its members, who are told.
void SessionShard::begin_epoch(Topic& topic, std::uint64_t epoch) {
  seal(topic);
  topic.epoch = epoch;
  const std::string text = base::to_hex(epoch);
  scratch_.clear();
  protocol::append_event(
      scratch_, protocol::GapEvent{.room_id = topic.kind == TopicKind::kRoom ? topic.id.view() : std::string_view{},
                                   .from_seq = topic.last_seq + 1,
                                   .to_seq = topic.last_seq,
                                   .epoch = text});
  topic.last_seq = 0;
  for (std::size_t i = 0; i < topic.members.size(); ++i) {
    Session& session = *topic.members[i].session;
    Membership& membership = session.memberships_[topic.members[i].slot];
    membership.from_seq = membership.sent_seq = 0;
    // A page that is on its way is of the past.
    if (membership.state == Membership::State::kRefilling) membership.state = Membership::State::kLagging;
    counters_.gaps.add();
    send(session, scratch_);
  }
}

void SessionShard::deliver_one_by_one(Topic& topic, const Event& event, const EventRef& ref) {
  seal(topic);
  std::array<runtime::BatchRef, kFramingCount> batches;
  // Ephemera also go to members that are behind on kept events, unless they are under pressure.
  const std::size_t count = event.lane == Lane::kEphemeral ? topic.members.size() : topic.live;
  for (std::size_t i = 0; i < count; ++i) {
    Session& session = *topic.members[i].session;
    if (session.id_ == event.exclude_session || is_excluded(session, event.exclude_user)) continue;
    if (event.lane == Lane::kEphemeral && session.pressure_) {
      conflate(session, &topic, ref);
      continue;
    }
    runtime::BatchRef& batch = batches[static_cast<std::size_t>(session.framing_)];
    if (!batch) {
      batch = shard_.batches().acquire();
      framer_.append(batch->bytes, session.framing_, event);
    }
    session.outbound_->deliver(batch, 0);
    counters_.deliveries.add();
  }
}

void SessionShard::seal(Topic& topic) { topic.open.reset(); }

void SessionShard::seal_all() {
  for (Topic* topic : open_topics_) {
    seal(*topic);
    topic->listed = false;
  }
  open_topics_.clear();
}

void SessionShard::send(Session& session, std::string_view json, bool recoverable) {
  if (session.closing_) return;
  // Answers are not in any stream, so they cannot give way to a mark; who asks much and reads nothing has to go. Before
  // its socket has been tried nobody knows who that is.
  if (session.outbound_->is_blocked() &&
      session.outbound_->queued_bytes() > kMaxAnswersShare * limits_.out_queue_bytes) {
    counters_.slow_closed.add();
    return dismiss(session, protocol::CloseCode::kSlowConsumer);
  }
  recoverable ? session.outbound_->send_recoverable(json) : session.outbound_->send(json);
}

/// Says `code`, once, and hears the session no more; it ends when its transport says so.
void SessionShard::dismiss(Session& session, protocol::CloseCode code) {
  session.closing_ = true;
  session.holds_ = false;
  held_.erase(session.id_);
  session.outbound_->close(code);
}

void SessionShard::reply(SessionId id, std::uint64_t call, std::string_view json, bool heavy) {
  if (call != 0 && !json.empty()) record_answer(call, json);
  Session* session = find_session(id);
  if (session == nullptr) return;
  if (call == 0 && !json.empty()) send(*session, json);
  if (heavy) lighten(*session);
}

void SessionShard::signalled(SessionId id, std::string_view json) {
  Session* session = find_session(id);
  if (session == nullptr) return;
  const bool slow = session->pressure_ && !session->pressure_->suspended;
  if (slow || session->outbound_->queued_bytes() > limits_.out_queue_bytes) return counters_.ephemera_dropped.add();
  send(*session, json);
}

void SessionShard::gathered(const std::shared_ptr<Gather>& gather, std::string_view json_events, std::size_t count,
                            bool failed) {
  gather->count += count;
  gather->failed = gather->failed || failed;
  Session* found = find_session(gather->asker.session);
  if (found == nullptr) return;
  // Events are separated by a line feed, which JSON never holds unescaped.
  while (!json_events.empty()) {
    const std::size_t end = json_events.find('\n');
    send(*found, json_events.substr(0, end));
    json_events.remove_prefix(end == std::string_view::npos ? json_events.size() : end + 1);
  }
  if (--gather->waiting != 0) return;
  const Asker& asker = gather->asker;
  scratch_.clear();
  if (gather->failed) {
    protocol::append_event(scratch_,
                           protocol::ErrorEvent{.id = asker.id, .code = protocol::ErrorCode::kBrokerUnavailable});
  } else if (asker.wants_answer()) {
    protocol::append_event(scratch_, protocol::AckEvent{.id = asker.id, .count = gather->count});
  }
  reply(asker.session, asker.call, scratch_, asker.heavy);
}

// --------------------------------------------------------------------------------------------------------- pressure

void SessionShard::conflate(Session& session, const Topic* topic, const EventRef& event) {
  auto& kept = session.pressure_->conflated;
  if (!event->conflate_key.empty()) {
    for (auto& known : kept) {
      if (known.event->conflate_key != event->conflate_key) continue;
      known.event = event;
      counters_.ephemera_conflated.add();
      return;
    }
    if (kept.size() < kMaxConflated) {
      kept.push_back({topic, event});
      return;
    }
  }
  counters_.ephemera_dropped.add();
}

void SessionShard::on_blocked(Session& session) {
  const std::size_t queued = session.outbound_->queued_bytes();
  if (!session.pressure_) {
    if (queued < limits_.out_queue_bytes / kEphemeralShare) return;
    session.pressure_ = std::make_unique<Pressure>();
    session.pressure_->session = &session;
    session.pressure_->progress_ms = shard_.now_ms();
    session.pressure_->on_expire = [](base::Timer& timer) {
      auto& pressure = static_cast<Pressure&>(timer);
      pressure.session->shard_.on_grace_over(pressure);
    };
    shard_.wheel().arm(*session.pressure_, shard_.now_ms() + limits_.slow_consumer_grace_ms);
    ++pressured_;
  }
  if (session.pressure_->marked || queued < limits_.out_queue_bytes) return;
  session.pressure_->marked = true;
  counters_.lags.add();
  for (Membership& membership : session.memberships_) {
    if (membership.state == Membership::State::kLive && membership.topic->kind != TopicKind::kWatch) {
      make_lagging(session, membership);
    }
  }
}

void SessionShard::on_drained(Session& session) {
  if (session.pressure_) {
    const std::unique_ptr<Pressure> pressure = std::move(session.pressure_);
    shard_.wheel().cancel(*pressure);
    --pressured_;
    for (const auto& waiting : pressure->conflated) send(session, waiting.event->json, true);
  }
  refill_next(session);
  proceed(session);
}

void SessionShard::on_grace_over(Pressure& pressure) {
  if (pressure.session->closing_) return;
  const std::int64_t idle_ms = shard_.now_ms() - pressure.progress_ms;
  if (!pressure.marked || idle_ms < limits_.slow_consumer_grace_ms) {
    const std::int64_t wait_ms = pressure.marked ? limits_.slow_consumer_grace_ms - idle_ms : 0;
    shard_.wheel().arm(pressure, shard_.now_ms() + std::max<std::int64_t>(wait_ms, 100));
    return;
  }
  counters_.slow_closed.add();
  dismiss(*pressure.session, protocol::CloseCode::kSlowConsumer);
}

Membership* SessionShard::next_to_refill(Session& session, std::size_t first) {
  if (session.is_suspended()) return nullptr;
  auto& all = session.memberships_;
  Membership* next = nullptr;
  for (std::size_t i = 0; i < all.size(); ++i) {
    Membership& membership = all[(first + i) % all.size()];
    if (membership.state == Membership::State::kRefilling) return nullptr;
    if (membership.state == Membership::State::kLagging && next == nullptr) next = &membership;
  }
  return next;
}

void SessionShard::refill_next(Session& session, std::size_t first) {
  if (session.awaits_refill_) return;
  Membership* next = next_to_refill(session, first);
  if (next == nullptr) return;
  if (refills_under_way_ < kMaxRefills && awaiting_refill_.empty()) return request_refill(session, *next);
  session.awaits_refill_ = true;
  awaiting_refill_.emplace_back(session.id_, first);
}

void SessionShard::start_waiting_refills() {
  while (refills_under_way_ < kMaxRefills && !awaiting_refill_.empty()) {
    const auto [id, first] = awaiting_refill_.front();
    awaiting_refill_.pop_front();
    Session* session = find_session(id);
    if (session == nullptr) continue;
    session->awaits_refill_ = false;
    if (session->outbound_->is_blocked()) continue;  // on_drained goes on
    if (Membership* next = next_to_refill(*session, first)) request_refill(*session, *next);
  }
}

// A page a turn, with its flush between them: however long a stream is, a session holds no more of it than its socket
// does not take.
void SessionShard::continue_refills() {
  for (const auto& [id, first] : std::exchange(continuing_, {})) {
    Session* session = find_session(id);
    // Else on_drained goes on.
    if (session != nullptr && !session->outbound_->is_blocked()) refill_next(*session, first);
  }
}

void SessionShard::retry_refills() {
  const std::vector<SessionId> ids = std::exchange(retries_, {});
  for (const SessionId id : ids) {
    Session* session = find_session(id);
    if (session != nullptr && !session->pressure_) refill_next(*session);
  }
}

void SessionShard::request_refill(Session& session, Membership& membership) {
  membership.state = Membership::State::kRefilling;
  ++refills_under_way_;
  const RefillRequest request{session.id_,
                              membership.topic->kind,
                              membership.topic->id,
                              membership.sent_seq,
                              membership.topic->epoch,
                              std::min(kRefillMaxBytes, std::max<std::size_t>(limits_.out_queue_bytes / 4, 1))};
  manager_.post_home(request.topic, [request](HomeShard& home) { home.refill(request); });
}

void SessionShard::refilled(const Refilled& answer) {
  --refills_under_way_;
  Session* found = find_session(answer.session);
  if (found == nullptr) return;
  Session& session = *found;
  Membership* membership = find_membership(session, find_topic(answer.kind, answer.topic));
  if (membership == nullptr || membership->state != Membership::State::kRefilling ||
      membership->sent_seq != answer.after_seq || membership->topic->epoch != answer.asked_epoch) {
    if (membership != nullptr && membership->state == Membership::State::kRefilling &&
        membership->topic->epoch != answer.asked_epoch) {
      membership->state = Membership::State::kLagging;
    }
    continuing_.emplace_back(session.id_, 0);  // it left meanwhile, but others may have waited for this page
    return;
  }
  Topic& topic = *membership->topic;
  counters_.refills.add();
  if (!answer.failed) {
    const broker::Page& page = answer.page;
    if (page.epoch != topic.epoch && topic.epoch != 0) {
      begin_epoch(topic, page.epoch);
      continuing_.emplace_back(session.id_, 0);
      return;
    }
    if (page.first_seq > membership->sent_seq + 1) {
      counters_.gaps.add();
      scratch_.clear();
      protocol::append_event(
          scratch_, protocol::GapEvent{.room_id = topic.kind == TopicKind::kRoom ? topic.id.view() : std::string_view{},
                                       .from_seq = membership->sent_seq + 1,
                                       .to_seq = page.first_seq - 1});
      send(session, scratch_, true);
      membership->sent_seq = page.first_seq - 1;
    }
    for (const broker::StoredEvent& event : page.events) {
      if (event.seq <= membership->sent_seq) continue;
      membership->sent_seq = event.seq;
      if (event.publication->exclude_session == session.id_) continue;
      if (is_excluded(session, event.publication->exclude_user)) continue;
      scratch_.clear();
      protocol::append_stored_event(scratch_, event.publication->type, event.id_ms, event.seq, event.publication->body);
      send(session, scratch_, true);
      counters_.deliveries.add();
    }
  }
  membership->state = Membership::State::kLagging;
  if (answer.failed) {
    retries_.push_back(session.id_);
    if (!retry_timer_.linked()) shard_.wheel().arm(retry_timer_, shard_.now_ms() + kRefillRetryMs);
    return;
  }
  if (session.pressure_ && session.pressure_->marked) return;  // on_drained goes on
  advance(topic, membership->sent_seq);                        // the page was read after mail that did not fit
  if (membership->sent_seq == topic.last_seq) make_live(session, *membership);
  continuing_.emplace_back(session.id_, static_cast<std::size_t>(membership - session.memberships_.data()) + 1);
}

void SessionShard::owe(TopicKind kind, const base::SharedString& id, std::uint64_t seq) {
  {
    const std::lock_guard lock(debts_mutex_);
    std::uint64_t& owed = debts_[index_of(kind)][id];
    owed = std::max(owed, seq);
    if (has_debts_.exchange(true, std::memory_order_relaxed)) return;
  }
  shard_.post([] {});  // the mail that filled its mailbox may be done with, and it asleep
}

void SessionShard::settle_debts() {
  std::array<Debts, kTopicKindCount> debts;
  {
    const std::lock_guard lock(debts_mutex_);
    debts.swap(debts_);
    has_debts_.store(false, std::memory_order_relaxed);
  }
  for (std::size_t kind = 0; kind < kTopicKindCount; ++kind) {
    for (const auto& [id, seq] : debts[kind]) {
      if (Topic* topic = topics_[kind].find(id)) advance(*topic, seq);
    }
  }
}

}  // namespace hubbub::hub
