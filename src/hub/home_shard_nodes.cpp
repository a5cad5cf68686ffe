#include <algorithm>
#include <utility>

#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/node_questions.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/event.hpp"

// What the rooms and users of one shard have to do with other nodes. A node's home shard of a room stands for all of
// the room's members on this node: it says when their first comes and their last goes, and is told, by the room's
// channel, what that means for all nodes together.
namespace hubbub::hub {

using protocol::ErrorCode;

// -------------------------------------------------------------------------------------------------------------- rooms

/// A join is answered with the members on all nodes. The first of a user here is told to the others by the same
/// question.
void HomeShard::ask_members(Room& room, std::unique_ptr<AttachRequest> request, bool first) {
  if (!request->already) {
    room.more().readings.push_back({request->asker.session, request->attempt, request->user});
  }
  const base::SharedString id = room.id;
  const base::SharedString user = request->user;
  if (first) {
    presence_->enter(id, user, limits_.joined_members_max,
                     [this, request = std::move(request)](base::Result<broker::PresenceStore::Room> found) mutable {
                       asked_members(std::move(request), true, std::move(found));
                     });
    return;
  }
  presence_->members(
      id, {}, limits_.joined_members_max,
      [this, request = std::move(request)](base::Result<broker::PresenceStore::Members> found) mutable {
        if (!found) return asked_members(std::move(request), false, found.error());
        asked_members(std::move(request), false, broker::PresenceStore::Room{found->members, std::move(found->names)});
      });
}

void HomeShard::asked_members(std::unique_ptr<AttachRequest> request, bool first,
                              base::Result<broker::PresenceStore::Room> found) {
  Room* room = find_room(request->topic);
  if (request->already) {
    if (room == nullptr) return drop_join(*request);
    if (!found) return refuse_join(*request);
  } else {
    if (!take_reading(room, *request)) return drop_join(*request);
    if (!found) return undo_join(*room, *request, first);
  }
  request->member_count = found->members;
  request->member_names = std::move(found->names);
  const base::SharedString user = request->user;
  if (request->since && !request->already) return read_for_join(*room, std::move(request));
  answer_join(*room, *request, {});
  release_held(*room, user);
  if (!request->already) release_deferred(*room, request->asker.session, true);
}

/// The other nodes could not be told: it is as if it had not come.
void HomeShard::undo_join(Room& room, const AttachRequest& request, bool first) {
  failed_joins_[request.asker.session].push_back(request.topic);
  room.shards.remove(shard_of(request.asker.session));
  if (room.users.remove(request.user)) {
    presence_->leave(room.id, request.user);
  } else if (first) {
    presence_->keep(room.id, request.user);  // another session of the same user came in between
  }
  refuse_join(request);
  release_held(room, request.user);
  release_deferred(room, request.asker.session, false);
  if (--room.sessions != 0 || (room.extras && room.extras->waiting)) return;
  broker_->unsubscribe(broker::StreamKey{broker::StreamKind::kRoom, room.id});
  drop_room(room);
}

/// Whoever comes hears `joined` first; that they came was told by another way, perhaps before.
void HomeShard::release_held(Room& room, const base::SharedString& user) {
  if (!room.extras || room.extras->held.empty()) return;
  for (const Reading& reading : room.extras->readings) {
    if (reading.user == user) return;
  }
  std::vector<EventRef> events;
  std::erase_if(room.extras->held, [&](auto& held) {
    if (!(held.first == user)) return false;
    events.push_back(std::move(held.second));
    return true;
  });
  for (const EventRef& event : events) broadcast(room, event);
}

bool HomeShard::is_joining(const Room& room, SessionId session) const {
  if (!room.extras) return false;
  const auto waits = [&](const auto& request) { return request->asker.session == session && !request->already; };
  const auto reads = [&](const Reading& reading) { return reading.session == session; };
  return (room.extras->waiting && std::any_of(room.extras->waiting->begin(), room.extras->waiting->end(), waits)) ||
         std::any_of(room.extras->readings.begin(), room.extras->readings.end(), reads);
}

/// What a session said right behind its join comes behind its `joined`, or it would miss its own message.
void HomeShard::release_deferred(Room& room, SessionId session, bool joined) {
  if (!room.extras || room.extras->deferred.empty() || is_joining(room, session)) return;
  std::vector<std::unique_ptr<PublishRequest>> requests;
  std::erase_if(room.extras->deferred, [&](auto& request) {
    if (request->asker.session != session) return false;
    requests.push_back(std::move(request));
    return true;
  });
  for (auto& request : requests) {
    if (joined) {
      publish_now(std::move(request));
    } else {
      reply_error(request->asker, ErrorCode::kNotInRoom);
    }
  }
}

void HomeShard::on_member(const base::SharedString& id, const base::SharedString& user, bool joined,
                          std::size_t members) {
  Room* room = find_room(id);
  if (room != nullptr && room->subscription == Subscription::kStanding)
    tell_joined_or_left(*room, user, joined, members);
}

/// After Redis has lost what it knew, or has taken this node for dead.
void HomeShard::on_forgotten() {
  for (const auto& room : rooms_) {
    room->users.for_some(room->users.size(), [&](const base::SharedString& user) { presence_->keep(room->id, user); });
  }
  for (const auto& user : users_) {
    if (user->sessions.empty()) continue;
    presence_->set_user(user->id, static_cast<std::uint8_t>(user->best()), user->sessions.size());
  }
}

// ------------------------------------------------------------------------------------------------------------- typing

/// Somebody here types: the room's members hear of it as all others do, by the room's channel.
void HomeShard::type_for_all(Room& room, const base::SharedString& user, bool starts) {
  TypingEntry* entry = find_typing(room, user);
  const std::int64_t now_ms = shard_.now_ms();
  if (!starts) {
    if (entry == nullptr || !entry->own) return;
    entry->own = false;
    return presence_->type(room.id, user, false, limits_.typing_ttl_ms);
  }
  if (entry == nullptr) entry = &add_typing(room, user);
  // Said anew now and then, so that it lasts on other nodes as it does here.
  if (!entry->own || now_ms - entry->said_ms >= limits_.typing_ttl_ms / 3) {
    presence_->type(room.id, user, true, limits_.typing_ttl_ms);
    entry->said_ms = now_ms;
  }
  entry->own = true;
  shard_.wheel().arm(*entry, now_ms + limits_.typing_ttl_ms);
}

void HomeShard::on_typing(const base::SharedString& id, const base::SharedString& user, bool starts) {
  Room* room = find_room(id);
  if (room == nullptr || room->subscription != Subscription::kStanding) return;
  TypingEntry* entry = find_typing(*room, user);
  if (!starts) {
    if (entry == nullptr || entry->own) return;  // who types here goes on, whatever was said elsewhere
    const bool shown = entry->shown;
    erase_typing(*room, *entry);
    if (shown) show_typing(*room, user, false);
    return;
  }
  if (entry == nullptr) entry = &add_typing(*room, user);
  if (!std::exchange(entry->shown, true)) show_typing(*room, user, true);
  if (entry->own) return;
  // Longer than its own node needs to say that it has stopped: this ends what a dead node left.
  shard_.wheel().arm(*entry, shard_.now_ms() + limits_.typing_ttl_ms + limits_.typing_ttl_ms / 2 + 500);
}

// -------------------------------------------------------------------------------------------------------------- users

void HomeShard::ask_presence(const std::vector<base::SharedString>& users, PresenceDone done) {
  if (presence_ == nullptr) {
    std::vector<PresenceInfo> found;
    found.reserve(users.size());
    for (const base::SharedString& user : users) found.push_back(presence(user));
    return done(std::move(found));
  }
  presence_->users(users, [users = users, done = std::make_unique<PresenceDone>(std::move(done))](
                              const base::Result<std::vector<broker::PresenceStore::User>>& found) {
    if (!found) return (*done)(found.error());
    std::vector<PresenceInfo> infos;
    infos.reserve(users.size());
    for (std::size_t i = 0; i < users.size(); ++i) {
      const broker::PresenceStore::User& user = (*found)[i];
      infos.push_back({users[i], status_of(user.status), user.last_seen_ms});
    }
    (*done)(std::move(infos));
  });
}

void HomeShard::count_sessions(const base::SharedString& user, base::InlineFunction<void(std::size_t), 96> done) {
  using Done = base::InlineFunction<void(std::size_t), 96>;
  presence_->users({user}, [this, user = user, done = std::make_unique<Done>(std::move(done))](
                               const base::Result<std::vector<broker::PresenceStore::User>>& found) {
    std::size_t count = 0;
    if (found) {
      for (const auto& [node, sessions] : found->front().nodes) count += sessions;
    } else if (const User* here = find_user(user)) {
      count = here->sessions.size();
    }
    (*done)(count);
  });
}

/// One who watches is answered with what is, and changes follow: so the subscription comes first.
void HomeShard::ask_watched(std::unique_ptr<AttachRequest> request) {
  User& user = user_for(request->topic);
  UserExtras& extras = user.more();
  if (!request->already) extras.watchers.add(shard_of(request->asker.session));
  if (extras.watch == Subscription::kStanding) return answer_watched(std::move(request));
  if (!extras.watch_waiting) extras.watch_waiting = std::make_unique<Waiting>();
  extras.watch_waiting->push_back(std::move(request));
  if (std::exchange(extras.watch, Subscription::kPending) == Subscription::kPending) return;
  const std::uint64_t attempt = extras.watch_attempt = ++watch_attempts_;
  presence_->watch(user.id, [this, id = user.id, attempt](const base::Result<void>& watched) {
    User* found = find_user(id);
    // Nobody watches any more, or somebody else does, by another subscription.
    if (found == nullptr || !found->extras || found->extras->watch != Subscription::kPending ||
        found->extras->watch_attempt != attempt) {
      return;
    }
    const std::unique_ptr<Waiting> waiting = std::move(found->extras->watch_waiting);
    found->extras->watch = watched ? Subscription::kStanding : Subscription::kNone;
    for (auto& each : *waiting) {
      if (watched) {
        answer_watched(std::move(each));
      } else {
        answer_watch(*each, watched.error());
      }
    }
  });
}

void HomeShard::answer_watched(std::unique_ptr<AttachRequest> request) {
  const base::SharedString user = request->topic;
  ask_presence({user}, [this, request = std::move(request)](const base::Result<std::vector<PresenceInfo>>& found) {
    if (!found) return answer_watch(*request, found.error());
    answer_watch(*request, found->front());
  });
}

void HomeShard::answer_watch(const AttachRequest& request, const base::Result<PresenceInfo>& info) {
  auto answer = std::make_unique<Attached>();
  answer->session = request.asker.session;
  answer->kind = TopicKind::kWatch;
  answer->topic = request.topic;
  answer->attempt = request.attempt;
  answer->already = request.already;
  if (info) {
    append_presence(answer->json, *info);
  } else {
    answer->error = ErrorCode::kBrokerUnavailable;
    protocol::append_event(answer->json, protocol::ErrorEvent{.code = *answer->error});
    if (!request.already) {
      detach_watch({request.asker.session, TopicKind::kWatch, request.topic, request.user});
    }
  }
  send(std::move(answer));
}

void HomeShard::on_presence(const base::SharedString& id, std::uint8_t status, std::int64_t when_ms) {
  const User* user = find_user(id);
  if (user != nullptr && user->is_watched()) tell_watchers(*user, {user->id, status_of(status), when_ms});
}

// -------------------------------------------------------------------------------------------- what other nodes are
// asked

void HomeShard::ask_nodes(const std::vector<broker::NodeTag>& nodes, const std::string& question, AnswersDone done) {
  struct Gathering {
    AnswersDone done;
    std::size_t waiting;
    std::vector<std::string> answers{};
  };
  broker::NodeBus* bus = backend_->bus();
  if (bus == nullptr || nodes.empty()) return done({});
  auto gathering = std::make_shared<Gathering>(Gathering{std::move(done), nodes.size()});
  for (const broker::NodeTag node : nodes) {
    bus->ask(node, question, [gathering](base::Result<std::string> answer) {
      if (answer) gathering->answers.push_back(std::move(*answer));
      if (--gathering->waiting == 0) gathering->done(std::move(gathering->answers));
    });
  }
}

void HomeShard::ask_all_nodes(const std::string& question, AnswersDone done) {
  broker::NodeBus* bus = backend_->bus();
  ask_nodes(bus == nullptr ? std::vector<broker::NodeTag>{} : bus->others(), question, std::move(done));
}

void HomeShard::nodes_of(const base::SharedString& user, NodesDone done) {
  broker::NodeBus* bus = backend_->bus();
  if (presence_ == nullptr || bus == nullptr) return done({});
  presence_->users({user}, [self = bus->self(), done = std::make_unique<NodesDone>(std::move(done))](
                               const base::Result<std::vector<broker::PresenceStore::User>>& found) {
    std::vector<broker::NodeTag> nodes;
    if (found) {
      for (const auto& [node, sessions] : found->front().nodes) {
        if (node != self && node != 0 && std::find(nodes.begin(), nodes.end(), node) == nodes.end()) {
          nodes.push_back(node);
        }
      }
    }
    (*done)(std::move(nodes));
  });
}

void HomeShard::signal_elsewhere(const Asker& asker, const base::SharedString& to_user, SessionId to_session,
                                 const std::shared_ptr<const std::string>& json) {
  const std::size_t here = signal_here(to_user, to_session, json);
  auto asking = std::make_shared<const Asker>(asker);
  auto question = std::make_shared<const std::string>(NodeQuestion::signal(to_user.view(), to_session, *json));
  nodes_of(to_user, [this, asking, question, here](const std::vector<broker::NodeTag>& nodes) {
    ask_nodes(nodes, *question, [this, asking, here](const std::vector<std::string>& answers) {
      answer_signal(*asking, here + NodeQuestion::sum_of(answers));
    });
  });
}

/// A publisher on another node waits for the user's `received`.
void HomeShard::register_report(const base::SharedString& user, const broker::StoredEvent& stored) {
  broker::NodeBus* bus = backend_->bus();
  const auto node = static_cast<broker::NodeTag>(stored.publication->report >> 32);
  const auto within_ms = static_cast<std::int64_t>(stored.publication->report & 0xffffffff);
  if (bus == nullptr || node == bus->self()) return;
  DeliveryReports::Waiter* waiter = reports_.open(user);
  if (waiter == nullptr) return;
  reports_.wait(waiter, stored.seq, within_ms, [bus, node, user, seq = stored.seq](bool acked) {
    if (acked) bus->tell(node, NodeQuestion::received(user.view(), seq));
  });
}

}  // namespace hubbub::hub
