#include "hubbub/hub/home_shard.hpp"

#include <algorithm>
#include <utility>

#include "hubbub/base/random.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/cursor.hpp"
#include "hubbub/protocol/event.hpp"

namespace hubbub::hub {

using broker::StreamKey;
using broker::StreamKind;
using protocol::ErrorCode;

namespace {

constexpr std::int64_t kSweepMs = 1'000;
constexpr std::int64_t kCountMs = 1'000;
constexpr std::size_t kRefillMaxEvents = 512;
constexpr std::size_t kMaxDeferred = 1'000;  // messages of a room by those who are still being joined

std::string conflate_key(std::string_view what, std::string_view room, std::string_view user) {
  std::string key(what);
  key.append(1, '\0').append(room).append(1, '\0').append(user);
  return key;
}

template <class Encoded>
EventRef ephemeral(const Encoded& encoded, std::string key) {
  auto event = std::make_shared<Event>();
  protocol::append_event(event->json, encoded);
  event->conflate_key = std::move(key);
  event->lane = Lane::kEphemeral;
  return event;
}

}  // namespace

void ShardCounts::add(unsigned shard) {
  if (first_.second == 0 || first_.first == shard) {
    first_.first = shard;
    ++first_.second;
    return;
  }
  if (!rest_) rest_ = std::make_unique<std::vector<Count>>();
  for (auto& [known, count] : *rest_) {
    if (known == shard) {
      ++count;
      return;
    }
  }
  rest_->emplace_back(shard, 1);
}

void ShardCounts::remove(unsigned shard) {
  if (first_.second != 0 && first_.first == shard) {
    if (--first_.second != 0 || !rest_) return;
    first_ = rest_->back();
    rest_->pop_back();
  } else if (rest_) {
    for (auto& entry : *rest_) {
      if (entry.first != shard) continue;
      if (--entry.second != 0) return;
      entry = rest_->back();
      rest_->pop_back();
      break;
    }
  }
  if (rest_ && rest_->empty()) rest_.reset();
}

Status HomeShard::User::best() const {
  Status best = Status::kOffline;
  for (const UserSession& session : sessions) best = std::max(best, session.status);
  return best;
}

HomeShard::HomeShard(ConnectionManager& manager, runtime::Shard& shard,
                     const ConnectionManager::BackendFactory& make_backend)
    : manager_(manager),
      shard_(shard),
      limits_(manager.limits()),
      reports_(shard, manager.reports_waiting(), manager.limits().reports_max),
      backend_(make_backend(shard, *this, *this)),
      broker_(&backend_->broker()),
      presence_(backend_->presence()) {
  sweep_timer_.home = this;
  sweep_timer_.on_expire = [](base::Timer& timer) {
    HomeShard& home = *static_cast<SweepTimer&>(timer).home;
    home.broker_->sweep();
    home.shard_.wheel().arm(timer, home.shard_.now_ms() + kSweepMs);
  };
  shard_.wheel().arm(sweep_timer_, shard_.now_ms() + kSweepMs);
}

HomeShard::~HomeShard() {
  shard_.wheel().cancel(sweep_timer_);
  for (const auto& room : rooms_) {
    if (!room->extras) continue;
    for (const auto& entry : room->extras->typing) shard_.wheel().cancel(*entry);
    if (room->extras->count_timer) shard_.wheel().cancel(*room->extras->count_timer);
  }
}

// ------------------------------------------------------------------------------------------------------------ tables

HomeShard::Room* HomeShard::find_room(const base::SharedString& id) const { return rooms_.find(id); }

HomeShard::Room& HomeShard::room_for(const base::SharedString& id) {
  if (Room* known = find_room(id)) return *known;
  auto room = std::make_unique<Room>();
  room->id = id;
  return rooms_.add(std::move(room));
}

void HomeShard::drop_room(Room& room) {
  if (room.extras) {
    for (const auto& entry : room.extras->typing) shard_.wheel().cancel(*entry);
    if (room.extras->count_timer) shard_.wheel().cancel(*room.extras->count_timer);
  }
  rooms_.erase(room);
}

HomeShard::User* HomeShard::find_user(const base::SharedString& id) const { return users_.find(id); }

HomeShard::User& HomeShard::user_for(const base::SharedString& id) {
  if (User* known = find_user(id)) return *known;
  auto user = std::make_unique<User>();
  user->id = id;
  return users_.add(std::move(user));
}

void HomeShard::drop_if_unused(User& user) {
  if (user.sessions.empty() && !user.is_watched() && !user.is_waiting()) users_.erase(user);
}

// --------------------------------------------------------------------------------------------------- attach and detach

void HomeShard::attach(std::unique_ptr<AttachRequest> request) {
  switch (request->kind) {
    case TopicKind::kRoom:
      return attach_room(std::move(request));
    case TopicKind::kInbox:
      return attach_inbox(std::move(request));
    case TopicKind::kWatch:
      return attach_watch(std::move(request));
  }
}

void HomeShard::detach(DetachRequest request) {
  switch (request.kind) {
    case TopicKind::kRoom:
      detach_room(request);
      break;
    case TopicKind::kInbox:
      detach_inbox(request);
      break;
    case TopicKind::kWatch:
      detach_watch(request);
      break;
  }
  if (!request.ack.empty()) reply(request.session, request.call, std::move(request.ack));
}

// A member is told that it joined only when the subscription stands: whatever is published after that reaches it.
void HomeShard::attach_room(std::unique_ptr<AttachRequest> request) {
  // The session does not know yet that its join failed, and is in the room no more than before.
  if (request->already && has_failed_join(*request)) return refuse_join(*request);
  Room& room = room_for(request->topic);
  if (room.subscription == Subscription::kStanding) return join(room, std::move(request));
  if (!room.more().waiting) room.extras->waiting = std::make_unique<Waiting>();
  room.extras->waiting->push_back(std::move(request));
  if (room.subscription == Subscription::kPending) return;
  room.subscription = Subscription::kPending;
  StreamKey key{StreamKind::kRoom, room.id};
  broker_->subscribe(key, [this, key](base::Result<broker::Position> position) { subscribed(key, position); });
}

void HomeShard::attach_inbox(std::unique_ptr<AttachRequest> request) {
  User& user = user_for(request->topic);
  if (user.subscription == Subscription::kStanding) return open_inbox(user, std::move(request));
  if (!user.more().waiting) user.extras->waiting = std::make_unique<Waiting>();
  user.extras->waiting->push_back(std::move(request));
  if (user.subscription == Subscription::kPending) return;
  user.subscription = Subscription::kPending;
  StreamKey key{StreamKind::kInbox, user.id};
  broker_->subscribe(key, [this, key](base::Result<broker::Position> position) { subscribed(key, position); });
}

void HomeShard::subscribed(const StreamKey& key, base::Result<broker::Position> position) {
  const bool is_room = key.kind == StreamKind::kRoom;
  Room* room = is_room ? find_room(key.id) : nullptr;
  User* user = is_room ? nullptr : find_user(key.id);
  if (room == nullptr && user == nullptr) {
    if (position) broker_->unsubscribe(key);
    return;
  }
  const std::unique_ptr<Waiting> waiting = std::move(is_room ? room->extras->waiting : user->extras->waiting);
  if (is_room) {
    auto deferred = std::move(room->extras->deferred);
    room->extras.reset();
    if (!deferred.empty()) room->more().deferred = std::move(deferred);
  } else if (user->extras->watchers.empty()) {
    user->extras.reset();
  }
  (is_room ? room->subscription : user->subscription) = position ? Subscription::kStanding : Subscription::kNone;
  if (position && is_room) room->position = *position;
  if (position && !is_room) user->position = *position;
  for (auto& request : *waiting) {
    if (position) {
      is_room ? join(*room, std::move(request)) : open_inbox(*user, std::move(request));
      continue;
    }
    if (is_room && !request->already) failed_joins_[request->asker.session].push_back(request->topic);
    refuse_join(*request);
    if (is_room) release_deferred(*room, request->asker.session, false);
  }
  if (is_room && room->sessions == 0) {
    if (position) broker_->unsubscribe(key);
    drop_room(*room);
  } else if (!is_room) {
    if (position && user->sessions.empty()) {
      broker_->unsubscribe(key);
      user->subscription = Subscription::kNone;
    }
    drop_if_unused(*user);
  }
}

void HomeShard::refuse_join(const AttachRequest& request) {
  auto answer = std::make_unique<Attached>();
  answer->session = request.asker.session;
  answer->kind = request.kind;
  answer->topic = request.topic;
  answer->attempt = request.attempt;
  answer->call = request.asker.call;
  answer->heavy = request.asker.heavy;
  answer->already = request.already;
  answer->error = ErrorCode::kBrokerUnavailable;
  protocol::append_event(answer->json, protocol::ErrorEvent{.id = request.asker.id, .code = *answer->error});
  send(std::move(answer));
}

/// Its session has left before it could be told that it joined.
void HomeShard::drop_join(const AttachRequest& request) {
  if (request.asker.wants_answer()) return reply_error(request.asker, ErrorCode::kNotInRoom);
  if (request.asker.heavy) reply(request.asker, {});
}

void HomeShard::join(Room& room, std::unique_ptr<AttachRequest> request) {
  const bool already = request->already;
  const base::SharedString user = request->user;
  bool first = false;
  if (!already) {
    first = room.users.add(user);
    room.shards.add(shard_of(request->asker.session));
    ++room.sessions;
  }
  if (presence_ != nullptr) return ask_members(room, std::move(request), first);
  if (already || !request->since) {
    answer_join(room, *request, {});
  } else {
    read_for_join(room, std::move(request));
  }
  // Also if the stream is still being read: the session may leave before that, which is told too.
  if (first) tell_joined_or_left(room, user, true, room.users.size());
}

/// Whether a join still waits for the answer that has come: its session may have left.
bool HomeShard::take_reading(Room* room, const AttachRequest& request) {
  return room != nullptr && room->extras && std::erase_if(room->extras->readings, [&](const Reading& reading) {
                                              return reading.session == request.asker.session &&
                                                     reading.attempt == request.attempt;
                                            }) != 0;
}

void HomeShard::read_for_join(Room& room, std::unique_ptr<AttachRequest> request) {
  room.more().readings.push_back({request->asker.session, request->attempt, request->user});
  // Only how far back the stream reaches is asked here; the events themselves come as a refill, by the same path that
  // serves slow readers, and the session goes live behind them without a gap or a double.
  const broker::ReadRange range{.from = broker::ReadRange::From::kSince, .seq = *request->since, .limit = 0};
  broker_->read(StreamKey{StreamKind::kRoom, room.id}, range,
                [this, request = std::move(request)](const base::Result<broker::Page>& page) {
                  Room* still = find_room(request->topic);
                  if (!take_reading(still, *request)) return drop_join(*request);
                  answer_join(*still, *request, recover(*request, page));
                  release_held(*still, request->user);
                  release_deferred(*still, request->asker.session, true);
                });
}

HomeShard::Recovery HomeShard::recover(const AttachRequest& request, const base::Result<broker::Page>& page) {
  Recovery recovery;
  recovery.recovered = false;
  if (!page || (!request.epoch.empty() && request.epoch != base::to_hex(page->epoch))) return recovery;
  const std::uint64_t since = *request.since;
  if (since > page->head_seq) {
    recovery.ahead = !request.epoch.empty();
    return recovery;
  }
  recovery.recovered = since + 1 >= page->first_seq;
  recovery.replay_after = *recovery.recovered ? since : page->first_seq - 1;
  return recovery;
}

void HomeShard::answer_join(const Room& room, const AttachRequest& request, const Recovery& recovery) {
  if (recovery.ahead) tell_ahead(request, room.id.view());
  auto answer = std::make_unique<Attached>();
  answer->session = request.asker.session;
  answer->kind = TopicKind::kRoom;
  answer->topic = room.id;
  answer->attempt = request.attempt;
  answer->call = request.asker.call;
  answer->heavy = request.asker.heavy;
  answer->already = request.already;
  answer->epoch = room.position.epoch;
  answer->seq = room.position.seq;
  answer->replay_after = recovery.replay_after;
  answer->json = joined_json(room, request, recovery.recovered);
  send(std::move(answer));
}

/// A cursor that is ahead is no way to go on, and silence would look like one.
void HomeShard::tell_ahead(const AttachRequest& request, std::string_view room_id) {
  std::string json;
  protocol::append_event(json, protocol::ErrorEvent{.code = ErrorCode::kBadCursor, .room_id = room_id});
  reply(request.asker.session, 0, std::move(json));
}

std::string HomeShard::joined_json(const Room& room, const AttachRequest& request, std::optional<bool> recovered) {
  std::vector<std::string_view> members;
  if (presence_ != nullptr) {
    members.assign(request.member_names.begin(), request.member_names.end());
  } else {
    members.reserve(std::min(room.users.size(), limits_.joined_members_max));
    room.users.for_some(limits_.joined_members_max,
                        [&](const base::SharedString& user) { members.push_back(user.view()); });
  }
  const std::string epoch = base::to_hex(room.position.epoch);
  std::string json;
  protocol::append_event(
      json, protocol::JoinedEvent{.id = request.asker.id,
                                  .room_id = room.id.view(),
                                  .seq = room.position.seq,
                                  .epoch = epoch,
                                  .members = members,
                                  .member_count = presence_ != nullptr ? request.member_count : room.users.size(),
                                  .already = request.already,
                                  .recovered = recovered});
  return json;
}

bool HomeShard::has_failed_join(const AttachRequest& request) const {
  const auto failed = failed_joins_.find(request.asker.session);
  return failed != failed_joins_.end() &&
         std::find(failed->second.begin(), failed->second.end(), request.topic) != failed->second.end();
}

bool HomeShard::forget_failed_join(const DetachRequest& request) {
  const auto failed = failed_joins_.find(request.session);
  if (failed == failed_joins_.end()) return false;
  const auto room = std::find(failed->second.begin(), failed->second.end(), request.topic);
  if (room == failed->second.end()) return false;
  failed->second.erase(room);
  if (failed->second.empty()) failed_joins_.erase(failed);
  return true;
}

void HomeShard::detach_room(const DetachRequest& request) {
  if (forget_failed_join(request)) return;
  Room* room = find_room(request.topic);
  if (room == nullptr) return;
  const bool waiting_for_broker = room->extras && room->extras->waiting;
  if (waiting_for_broker) {
    // Its attach may still wait for the subscription, and joins that came on top of it.
    const auto erased = std::erase_if(*room->extras->waiting, [&](const auto& waiting) {
      if (waiting->asker.session != request.session) return false;
      drop_join(*waiting);
      return true;
    });
    if (erased != 0) {
      release_deferred(*room, request.session, true);
      return;
    }
  }
  if (room->extras) {
    std::erase_if(room->extras->readings, [&](const Reading& reading) { return reading.session == request.session; });
    release_held(*room, request.user);
    release_deferred(*room, request.session, true);
  }
  room->shards.remove(shard_of(request.session));
  if (room->users.remove(request.user)) {
    stop_typing(*room, request.user);
    if (presence_ != nullptr) {
      presence_->leave(room->id, request.user);
    } else {
      tell_joined_or_left(*room, request.user, false, room->users.size());
    }
  }
  if (--room->sessions != 0 || waiting_for_broker) return;
  broker_->unsubscribe(StreamKey{StreamKind::kRoom, room->id});
  drop_room(*room);
}

void HomeShard::open_inbox(User& user, std::unique_ptr<AttachRequest> request) {
  if (user.sessions.size() >= limits_.max_sessions_per_user) {
    auto answer = std::make_unique<Attached>();
    answer->session = request->asker.session;
    answer->kind = TopicKind::kInbox;
    answer->topic = user.id;
    answer->refused = true;
    return send(std::move(answer));
  }
  user.sessions.push_back({request->asker.session, Status::kOnline});
  ++user_sessions_;
  if (!request->since) {
    answer_inbox(*request, {});
    return update_presence(user);
  }
  update_presence(user);
  const broker::ReadRange range{.from = broker::ReadRange::From::kSince, .seq = *request->since, .limit = 0};
  broker_->read(StreamKey{StreamKind::kInbox, user.id}, range,
                [this, request = std::move(request)](const base::Result<broker::Page>& page) {
                  answer_inbox(*request, recover(*request, page));
                });
}

void HomeShard::answer_inbox(const AttachRequest& request, const Recovery& recovery) {
  const User* user = find_user(request.topic);
  if (user == nullptr) return;  // it went while the stream was read
  auto answer = std::make_unique<Attached>();
  answer->session = request.asker.session;
  answer->kind = TopicKind::kInbox;
  answer->topic = user->id;
  answer->attempt = request.attempt;
  answer->epoch = user->position.epoch;
  answer->seq = user->position.seq;
  answer->replay_after = recovery.replay_after;
  const std::string session_id = manager_.session_text(request.asker.session);
  const std::string session_key = manager_.session_key(request.asker.session);
  std::string cursor = request.cursor;
  if (cursor.empty()) {
    std::string scratch;
    const std::uint64_t key_tag = request.lingers ? manager_.session_key_tag(request.asker.session) : 0;
    protocol::CursorWriter writer(scratch, request.lingers ? request.asker.session : 0, key_tag);
    writer.add({}, user->position.epoch, user->position.seq);
    writer.finish(cursor, user->id.view());
  }
  protocol::append_event(answer->json,
                         protocol::ConnectedEvent{.session_id = session_id,
                                                  .session_key = session_key,
                                                  .user_id = user->id.view(),
                                                  .server_id = limits_.server_id,
                                                  .heartbeat_ms = static_cast<std::uint64_t>(limits_.heartbeat_ms),
                                                  .cursor = cursor,
                                                  .recovered = recovery.recovered});
  send(std::move(answer));
  if (recovery.ahead) tell_ahead(request, {});
}

void HomeShard::detach_inbox(const DetachRequest& request) {
  User* user = find_user(request.topic);
  if (user == nullptr) return;
  if (user->is_waiting()) {
    std::erase_if(*user->extras->waiting,
                  [&](const auto& waiting) { return waiting->asker.session == request.session; });
  }
  const auto session = std::find_if(user->sessions.begin(), user->sessions.end(),
                                    [&](const UserSession& s) { return s.id == request.session; });
  if (session == user->sessions.end()) return drop_if_unused(*user);
  user->sessions.erase(session);
  --user_sessions_;
  if (user->sessions.empty()) {
    remember_last_seen(user->id);
    if (!user->is_waiting()) {
      broker_->unsubscribe(StreamKey{StreamKind::kInbox, user->id});
      user->subscription = Subscription::kNone;
    }
  }
  update_presence(*user);
  drop_if_unused(*user);
}

void HomeShard::attach_watch(std::unique_ptr<AttachRequest> request) {
  if (presence_ != nullptr) return ask_watched(std::move(request));
  auto answer = std::make_unique<Attached>();
  answer->session = request->asker.session;
  answer->kind = TopicKind::kWatch;
  answer->topic = request->topic;
  answer->attempt = request->attempt;
  answer->already = request->already;
  if (!request->already) user_for(request->topic).more().watchers.add(shard_of(request->asker.session));
  append_presence(answer->json, presence(request->topic));
  send(std::move(answer));
}

void HomeShard::detach_watch(const DetachRequest& request) {
  User* user = find_user(request.topic);
  if (user == nullptr || !user->is_watched()) return;
  UserExtras& extras = *user->extras;
  extras.watchers.remove(shard_of(request.session));
  if (extras.watch_waiting) {
    std::erase_if(*extras.watch_waiting,
                  [&](const auto& waiting) { return waiting->asker.session == request.session; });
  }
  if (extras.watchers.empty() && extras.watch != Subscription::kNone) {
    presence_->unwatch(user->id);
    extras.watch = Subscription::kNone;
    extras.watch_waiting.reset();
  }
  drop_if_unused(*user);
}

// ----------------------------------------------------------------------------------------------------------- messages

// HOT PATH
void HomeShard::publish_to_room(std::unique_ptr<PublishRequest> request) {
  if (Room* room = find_room(request->room); room != nullptr && room->extras) {
    stop_typing(*room, request->from);
    if (presence_ != nullptr && is_joining(*room, request->asker.session)) {
      if (room->extras->deferred.size() == kMaxDeferred) return reply_error(request->asker, ErrorCode::kOverloaded);
      room->extras->deferred.push_back(std::move(request));
      return;
    }
  }
  publish_now(std::move(request));
}

// HOT PATH
void HomeShard::publish_now(std::unique_ptr<PublishRequest> request) {
  const StreamKey key{StreamKind::kRoom, request->room};
  broker::Publication publication = std::move(request->publication);
  broker_->publish(key, std::move(publication),
                   [this, request = std::move(request)](const base::Result<broker::Published>& result) {
                     if (request->asker.wants_answer() || !result) answer_publish(*request, result, SIZE_MAX);
                   });
}

void HomeShard::publish_direct(std::unique_ptr<PublishRequest> request) {
  const StreamKey key{StreamKind::kInbox, request->to_user};
  // The sender's other sessions read the same event from the sender's own inbox; the sending one knows it already.
  std::unique_ptr<PublishRequest> copy;
  if (request->from != request->to_user) {
    copy = std::make_unique<PublishRequest>();
    copy->asker.session = request->asker.session;
    copy->from = request->from;
    copy->publication = request->publication;
    copy->publication.dedupe_key.clear();
    copy->publication.exclude_session = request->asker.session;
  }
  broker::Publication publication = std::move(request->publication);
  broker_->publish(
      key, std::move(publication),
      [this, request = std::move(request),
       copy = std::move(copy)](const base::Result<broker::Published>& result) mutable {
        if (request->asker.wants_answer() || !result) {
          if (presence_ == nullptr || !result) {
            const User* user = find_user(request->to_user);
            answer_publish(*request, result, user == nullptr ? 0 : user->sessions.size());
          } else {
            const base::SharedString to_user = request->to_user;
            count_sessions(to_user, [this, request = std::move(request), result = *result](std::size_t sessions) {
              answer_publish(*request, result, sessions);
            });
          }
        }
        if (!result || result->duplicate || !copy) return;
        const base::SharedString from = copy->from;
        manager_.post_home(from, [copy = std::move(copy)](HomeShard& home) mutable {
          const StreamKey inbox{StreamKind::kInbox, copy->from};
          home.broker_->publish(inbox, std::move(copy->publication), [](const base::Result<broker::Published>&) {});
        });
      });
}

void HomeShard::answer_publish(const PublishRequest& request, const base::Result<broker::Published>& result,
                               std::size_t sessions) {
  if (!result) return reply_error(request.asker, ErrorCode::kBrokerUnavailable);
  protocol::AckEvent ack{.id = request.asker.id,
                         .message = protocol::EventId{result->id_ms, result->position.seq},
                         .duplicate = result->duplicate};
  if (sessions != SIZE_MAX) ack.sessions = sessions;
  std::string json;
  protocol::append_event(json, ack);
  reply(request.asker, std::move(json));
}

// HOT PATH: encoded once here, whatever the number of members and shards.
void HomeShard::on_event(const StreamKey& key, std::uint64_t epoch, const broker::StoredEvent& stored) {
  auto event = std::make_shared<Event>();
  event->seq = stored.seq;
  event->epoch = epoch;
  event->exclude_session = stored.publication->exclude_session;
  event->exclude_user = stored.publication->exclude_user;
  if (stored.publication->keep) {
    protocol::append_stored_event(event->json, stored.publication->type, stored.id_ms, stored.seq,
                                  stored.publication->body);
  } else {
    protocol::append_ephemeral_event(event->json, stored.publication->type, stored.publication->body);
    event->lane = Lane::kEphemeral;
    event->conflate_key = conflate_key("ephemeral", std::to_string(++ephemera_), {});  // none replaces another
  }
  if (key.kind == StreamKind::kRoom) {
    Room* room = find_room(key.id);
    if (room == nullptr) return;
    if (stored.seq != 0) room->position = {epoch, stored.seq};
    broadcast(*room, event);
  } else {
    User* user = find_user(key.id);
    if (user == nullptr) return;
    if (stored.seq != 0) user->position = {epoch, stored.seq};
    if (stored.publication->report != 0 && stored.seq != 0) register_report(user->id, stored);
    for (auto session = user->sessions.begin(); session != user->sessions.end(); ++session) {
      // Once a shard: at the first of its sessions.
      const unsigned index = shard_of(session->id);
      if (std::any_of(user->sessions.begin(), session,
                      [index](const UserSession& before) { return shard_of(before.id) == index; })) {
        continue;
      }
      manager_.post_event(index, TopicKind::kInbox, user->id, event);
    }
  }
}

void HomeShard::broadcast(const Room& room, const EventRef& event) {
  room.shards.for_each([&](unsigned shard) { manager_.post_event(shard, TopicKind::kRoom, room.id, event); });
}

void HomeShard::history(std::unique_ptr<HistoryRequest> owned) {
  const StreamKey key = owned->stream;
  const broker::ReadRange range = owned->range;
  broker_->read(key, range, [this, owned = std::move(owned)](const base::Result<broker::Page>& page) {
    const HistoryRequest& request = *owned;
    if (!page) return reply_error(request.asker, ErrorCode::kBrokerUnavailable);
    const std::string epoch = base::to_hex(page->epoch);
    std::string json;
    protocol::HistoryWriter writer(
        json, {.id = request.asker.id,
               .room_id = request.stream.kind == StreamKind::kRoom ? request.stream.id.view() : std::string_view{},
               .epoch = epoch});
    for (const broker::StoredEvent& event : page->events) {
      writer.add(event.publication->type, event.id_ms, event.seq, event.publication->body);
    }
    writer.finish(page->more);
    reply(request.asker, std::move(json));
  });
}

void HomeShard::refill(RefillRequest request) {
  const StreamKey key{request.kind == TopicKind::kInbox ? StreamKind::kInbox : StreamKind::kRoom, request.topic};
  broker_->read(key,
                {.from = broker::ReadRange::From::kSince,
                 .seq = request.after_seq,
                 .limit = kRefillMaxEvents,
                 .max_bytes = request.max_bytes},
                [this, request](base::Result<broker::Page> page) {
                  auto answer = std::make_unique<Refilled>();
                  answer->session = request.session;
                  answer->kind = request.kind;
                  answer->topic = request.topic;
                  answer->after_seq = request.after_seq;
                  answer->asked_epoch = request.epoch;
                  answer->failed = !page;
                  if (page) answer->page = std::move(*page);
                  manager_.post_sessions(shard_of(request.session),
                                         [answer = std::move(answer)](SessionShard& side) { side.refilled(*answer); });
                });
}

void HomeShard::signal(const Asker& asker, const base::SharedString& from, const base::SharedString& to_user,
                       SessionId to_session, std::string_view data) {
  auto json = std::make_shared<std::string>();
  const std::string from_session = manager_.session_text(asker.session);
  protocol::append_event(*json, protocol::SignalEvent{.from = from.view(), .from_session = from_session, .data = data});
  if (presence_ != nullptr) return signal_elsewhere(asker, to_user, to_session, json);
  answer_signal(asker, signal_here(to_user, to_session, json));
}

std::size_t HomeShard::signal_here(const base::SharedString& to_user, SessionId to_session,
                                   const std::shared_ptr<const std::string>& json) {
  const User* user = find_user(to_user);
  if (user == nullptr) return 0;
  std::size_t reached = 0;
  for (const UserSession& session : user->sessions) {
    if (to_session != 0 && session.id != to_session) continue;
    ++reached;
    manager_.post_signal(session.id, json);
  }
  return reached;
}

void HomeShard::answer_signal(const Asker& asker, std::size_t reached) {
  if (reached == 0) return reply_error(asker, ErrorCode::kUserOffline);
  if (!asker.wants_answer()) return;
  std::string json;
  protocol::append_event(json, protocol::AckEvent{.id = asker.id, .sessions = reached});
  reply(asker, std::move(json));
}

// ------------------------------------------------------------------------------------------------- typing and presence

void HomeShard::typing(const base::SharedString& room_id, const base::SharedString& user, bool starts) {
  Room* room = find_room(room_id);
  if (room == nullptr || !room->users.contains(user)) return;
  if (presence_ != nullptr) return type_for_all(*room, user, starts);
  if (!starts) return stop_typing(*room, user);
  const std::int64_t until_ms = shard_.now_ms() + limits_.typing_ttl_ms;
  if (TypingEntry* known = find_typing(*room, user)) return shard_.wheel().arm(*known, until_ms);
  shard_.wheel().arm(add_typing(*room, user), until_ms);
  show_typing(*room, user, true);
}

void HomeShard::on_typing_time(TypingEntry& entry) {
  Room* room = find_room(entry.room);
  if (room == nullptr) return;
  if (presence_ == nullptr || entry.own) {
    if (presence_ != nullptr) shard_.wheel().arm(entry, shard_.now_ms() + limits_.typing_ttl_ms);  // until it is heard
    return stop_typing(*room, base::SharedString(entry.user));
  }
  // The node of who typed has not said more of it.
  const base::SharedString user = entry.user;
  const bool shown = entry.shown;
  erase_typing(*room, entry);
  if (shown) show_typing(*room, user, false);
}

void HomeShard::stop_typing(Room& room, const base::SharedString& user) {
  TypingEntry* entry = find_typing(room, user);
  if (entry == nullptr) return;
  if (presence_ != nullptr) return type_for_all(room, user, false);
  const base::SharedString who = entry->user;  // `user` may be the entry's own
  erase_typing(room, *entry);
  show_typing(room, who, false);
}

HomeShard::TypingEntry* HomeShard::find_typing(const Room& room, const base::SharedString& user) const {
  if (!room.extras) return nullptr;
  for (const auto& entry : room.extras->typing) {
    if (entry->user == user) return entry.get();
  }
  return nullptr;
}

HomeShard::TypingEntry& HomeShard::add_typing(Room& room, const base::SharedString& user) {
  auto entry = std::make_unique<TypingEntry>();
  entry->home = this;
  entry->user = user;
  entry->room = room.id;
  entry->on_expire = [](base::Timer& timer) {
    auto& expired = static_cast<TypingEntry&>(timer);
    expired.home->on_typing_time(expired);
  };
  return *room.more().typing.emplace_back(std::move(entry));
}

void HomeShard::erase_typing(Room& room, const TypingEntry& entry) {
  auto& typing = room.extras->typing;
  const auto found = std::find_if(typing.begin(), typing.end(), [&](const auto& e) { return e.get() == &entry; });
  shard_.wheel().cancel(**found);
  typing.erase(found);
}

void HomeShard::show_typing(const Room& room, const base::SharedString& user, bool starts) {
  const auto type = starts ? protocol::EventType::kTypingStart : protocol::EventType::kTypingStop;
  broadcast(room, ephemeral(protocol::RoomUserEvent{type, user.view(), room.id.view()},
                            conflate_key("typing", room.id.view(), user.view())));
}

void HomeShard::tell_joined_or_left(Room& room, const base::SharedString& user, bool joined, std::size_t members) {
  if (room.extras && room.extras->count_timer) room.extras->count_timer->members = members;
  if (members <= limits_.room_announce_max) {
    const auto type = joined ? protocol::EventType::kUserJoined : protocol::EventType::kUserLeft;
    EventRef event = ephemeral(protocol::RoomUserEvent{type, user.view(), room.id.view()},
                               conflate_key("member", room.id.view(), user.view()));
    const bool held = room.extras && std::any_of(room.extras->readings.begin(), room.extras->readings.end(),
                                                 [&](const Reading& reading) { return reading.user == user; });
    if (presence_ != nullptr && held) {
      room.extras->held.emplace_back(user, std::move(event));
    } else {
      broadcast(room, event);
    }
    return;
  }
  // Telling n members of each of n joins is n * n events: in a large room they are told the number instead.
  std::unique_ptr<CountTimer>& timer = room.more().count_timer;
  if (!timer) {
    timer = std::make_unique<CountTimer>();
    timer->home = this;
    timer->room = room.id;
    timer->members = members;
    timer->on_expire = [](base::Timer& expired) {
      auto& due = static_cast<CountTimer&>(expired);
      due.home->tell_count(due.room);
    };
  }
  if (!timer->linked()) shard_.wheel().arm(*timer, shard_.now_ms() + kCountMs);
}

void HomeShard::tell_count(const base::SharedString& room_id) {
  Room* room = find_room(room_id);
  if (room == nullptr || !room->extras || !room->extras->count_timer) return;
  const std::size_t members = room->extras->count_timer->members;
  broadcast(*room, ephemeral(protocol::MembersEvent{.room_id = room->id.view(), .member_count = members},
                             conflate_key("members", room->id.view(), {})));
}

void HomeShard::presence_query(const std::vector<base::SharedString>& users, std::shared_ptr<Gather> gather) {
  ask_presence(users, [this, gather = std::move(gather),
                       count = users.size()](const base::Result<std::vector<PresenceInfo>>& found) mutable {
    std::string json;
    if (found) {
      for (const PresenceInfo& info : *found) {
        if (!json.empty()) json.push_back('\n');
        append_presence(json, info);
      }
    }
    const unsigned index = shard_of(gather->asker.session);
    const bool failed = !found;
    manager_.post_sessions(index, [gather = std::move(gather), json = std::move(json), count,
                                   failed](SessionShard& side) { side.gathered(gather, json, count, failed); });
  });
}

void HomeShard::append_presence(std::string& out, const PresenceInfo& info) {
  protocol::append_event(
      out, protocol::PresenceEvent{
               .user_id = info.user.view(), .status = status_name(info.status), .last_seen_ms = info.last_seen_ms});
}

void HomeShard::set_status(const base::SharedString& user_id, SessionId session_id, Status status, std::string ack,
                           std::uint64_t call) {
  if (User* user = find_user(user_id)) {
    for (UserSession& session : user->sessions) {
      if (session.id == session_id) session.status = status;
    }
    update_presence(*user);
  }
  if (!ack.empty()) reply(session_id, call, std::move(ack));
}

void HomeShard::update_presence(User& user) {
  const Status now = user.best();
  const Status before = std::exchange(user.told, now);
  if (before == Status::kOffline && now != before) ++online_users_;
  if (now == Status::kOffline && now != before) --online_users_;
  if (presence_ != nullptr) {
    presence_->set_user(user.id, static_cast<std::uint8_t>(now), user.sessions.size());
  } else if (before != now && user.is_watched()) {
    tell_watchers(user, presence(user.id));
  }
}

void HomeShard::tell_watchers(const User& user, const PresenceInfo& info) {
  auto event = std::make_shared<Event>();
  append_presence(event->json, info);
  event->conflate_key = conflate_key("presence", {}, user.id.view());
  event->lane = Lane::kEphemeral;
  user.extras->watchers.for_each(
      [&](unsigned shard) { manager_.post_event(shard, TopicKind::kWatch, user.id, event); });
}

void HomeShard::remember_last_seen(const base::SharedString& user) {
  if (limits_.last_seen_max == 0) return;
  last_seen_.insert_or_assign(user, LastSeen{shard_.unix_ms(), ++next_departure_});
  departures_.emplace_back(next_departure_, user);
  const auto is_stale = [this](const auto& departure) {
    const auto seen = last_seen_.find(departure.second);
    return seen == last_seen_.end() || seen->second.departure != departure.first;
  };
  while (last_seen_.size() > limits_.last_seen_max) {
    if (!is_stale(departures_.front())) last_seen_.erase(departures_.front().second);
    departures_.pop_front();
  }
  // Users who come and go would make the list grow without the table.
  if (departures_.size() > 2 * last_seen_.size() + 16) std::erase_if(departures_, is_stale);
}

// ------------------------------------------------------------------------------------------------------------ answers

void HomeShard::reply(SessionId session, std::uint64_t call, std::string json) {
  manager_.post_sessions(shard_of(session), [session, call, json = std::move(json)](SessionShard& side) {
    side.reply(session, call, json);
  });
}

void HomeShard::reply(const Asker& asker, std::string json) {
  manager_.post_sessions(shard_of(asker.session),
                         [session = asker.session, call = asker.call, heavy = asker.heavy,
                          json = std::move(json)](SessionShard& side) { side.reply(session, call, json, heavy); });
}

void HomeShard::reply_error(const Asker& asker, ErrorCode code) {
  std::string json;
  protocol::append_event(json, protocol::ErrorEvent{.id = asker.id, .code = code});
  reply(asker, std::move(json));
}

void HomeShard::send(std::unique_ptr<Attached> answer) {
  const unsigned index = shard_of(answer->session);
  manager_.post_sessions(index, [answer = std::move(answer)](SessionShard& side) { side.attached(*answer); });
}

}  // namespace hubbub::hub
