#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <utility>

#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/event.hpp"

// What sessions ask for. A command is checked here, against what this shard knows, and then goes to the home shard of
// its room or user; answers and events come back through the mailbox, in the home shard's order.
namespace hubbub::hub {

using protocol::Command;
using protocol::CommandType;
using protocol::ErrorCode;

namespace {

// Commands that are answered with much. One read may hold thousands of them, and their answers are made before any
// bound of the out queue is looked at; so few are under way at a time.
constexpr unsigned kMaxHeavy = 4;
constexpr std::size_t kMaxHeldBytes = 1024 * 1024;

Status status_of(std::string_view name) {
  return name == "away" ? Status::kAway : name == "busy" ? Status::kBusy : Status::kOnline;
}

}  // namespace

void SessionShard::receive(Session& session, std::string_view text) {
  if (call_ == 0 && (session.holds_ || must_wait(session))) return hold(session, text);
  carry_out(session, text);
}

// `connected` comes first: what an eager client says with its handshake waits until its user's home shard has answered.
// After that, who asks for more than it has read yet waits for its own reading.
bool SessionShard::must_wait(const Session& session) const {
  return !session.attached_ || session.heavy_ >= kMaxHeavy ||
         session.outbound_->queued_bytes() >= limits_.out_queue_bytes;
}

void SessionShard::hold(Session& session, std::string_view text) {
  if (session.closing_) return;
  Held& held = held_[session.id_];
  // Its transport no longer reads; this is what one read held.
  if (held.bytes > kMaxHeldBytes) return dismiss(session, protocol::CloseCode::kRateLimited);
  held.bytes += text.size() + sizeof(std::string);
  held.texts.emplace_back(text);
  if (!std::exchange(session.holds_, true)) session.outbound_->hold_input(true);
}

/// Carries out what was held, in order, as far as it need not wait. Called whenever that may have changed: a heavy
/// answer has come, or the socket has taken some.
void SessionShard::proceed(Session& session) {
  while (session.attached_ && session.holds_ && !must_wait(session)) {
    const auto found = held_.find(session.id_);
    Held& held = found->second;
    const std::string text = std::move(held.texts.front());
    held.texts.pop_front();
    held.bytes -= text.size() + sizeof(std::string);
    if (held.texts.empty()) {
      held_.erase(found);
      session.holds_ = false;
      session.outbound_->hold_input(false);
    }
    carry_out(session, text);
  }
}

void SessionShard::lighten(Session& session) {
  --session.heavy_;
  proceed(session);
}

void SessionShard::carry_out(Session& session, std::string_view text) {
  counters_.commands.add();
  const protocol::CommandResult command = parser_.parse(text);
  if (!within_rate(session, text.size())) {
    counters_.rate_limited.add();
    error(session, command ? command->id : command.error().id, ErrorCode::kRateLimited);
    return;
  }
  if (command) {
    execute(session, *command);
  } else {
    error(session, command.error().id, command.error().code, command.error().field);
  }
}

bool SessionShard::within_rate(Session& session, std::size_t bytes) {
  const auto frames_rate = static_cast<double>(limits_.frames_per_second);
  const auto bytes_rate = static_cast<double>(limits_.bytes_per_second);
  return session.frames_.try_take(shard_.now_ms(), frames_rate, frames_rate) &&
         session.bytes_.try_take(shard_.now_ms(), bytes_rate, bytes_rate, static_cast<double>(bytes));
}

void SessionShard::execute(Session& session, const Command& command) {
  switch (command.type) {
    case CommandType::kJoinRoom:
      return join_room(session, command);
    case CommandType::kLeaveRoom:
      return leave_room(session, command);
    case CommandType::kRoomMessage:
      return room_message(session, command);
    case CommandType::kDirectMessage:
      return direct_message(session, command);
    case CommandType::kTypingStart:
      return typing(session, command, true);
    case CommandType::kTypingStop:
      return typing(session, command, false);
    case CommandType::kPresenceQuery:
      return presence_query(session, command);
    case CommandType::kPresenceWatch:
      return presence_watch(session, command);
    case CommandType::kPresenceUnwatch:
      return presence_unwatch(session, command);
    case CommandType::kSetStatus:
      return set_status(session, command);
    case CommandType::kHistory:
      return history(session, command);
    case CommandType::kCursor:
      cursor_text_.clear();
      append_cursor(session, 0, cursor_text_);
      scratch_.clear();
      protocol::append_event(scratch_, protocol::CursorEvent{.id = command.id, .cursor = cursor_text_});
      return answer(session, scratch_);
    case CommandType::kReceived:
      return received(session, command);
    case CommandType::kSignal:
      return signal(session, command);
    case CommandType::kPing:
      scratch_.clear();
      protocol::append_event(scratch_, protocol::PongEvent{.id = command.id});
      return answer(session, scratch_);
  }
}

void SessionShard::error(Session& session, std::string_view id, ErrorCode code, std::string_view field) {
  counters_.command_errors.add();
  scratch_.clear();
  protocol::append_event(scratch_, protocol::ErrorEvent{.id = id, .code = code, .field = field});
  answer(session, scratch_);
}

void SessionShard::ack(Session& session, std::string_view id) {
  if (id.empty() && call_ == 0) return;
  scratch_.clear();
  protocol::append_event(scratch_, protocol::AckEvent{.id = id});
  answer(session, scratch_);
}

void SessionShard::answer(Session& session, std::string_view json) {
  call_ == 0 ? send(session, json) : record_answer(call_, json);
}

Asker SessionShard::asker_of(const Session& session, const Command& command) const {
  return {session.id_, std::string(command.id), call_};
}

// ------------------------------------------------------------------------------------------------- commands by HTTP

void SessionShard::call(Session& session, const std::vector<std::string_view>& texts, CallDone done) {
  const std::uint64_t serial = next_call_++;
  Call& call = calls_[serial];
  call.session = session.id_;
  call.answers.resize(texts.size());
  call.waiting = texts.size() + 1;  // itself: nothing is done before all have been asked
  call.done = std::move(done);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    call_ = serial << kCallIndexBits | i;
    if (find_session(calls_.at(serial).session) == nullptr) break;
    receive(session, texts[i]);
  }
  call_ = 0;
  finish_one(serial);
}

void SessionShard::record_answer(std::uint64_t call, std::string_view json) {
  const auto found = calls_.find(call >> kCallIndexBits);
  if (found == calls_.end()) return;
  std::string& answer = found->second.answers[call & ((1U << kCallIndexBits) - 1)];
  if (!answer.empty()) return;
  answer = json;
  finish_one(found->first);
}

void SessionShard::finish_one(std::uint64_t serial) {
  const auto found = calls_.find(serial);
  if (found == calls_.end() || --found->second.waiting != 0) return;
  Call call = std::move(found->second);
  calls_.erase(found);
  call.done(call.answers);
}

/// The session ends: what it still asks for is answered now, or its caller would wait for ever.
void SessionShard::end_calls(SessionId session) {
  std::vector<Call> ended;
  for (auto call = calls_.begin(); call != calls_.end();) {
    if (call->second.session != session) {
      ++call;
      continue;
    }
    ended.push_back(std::move(call->second));
    calls_.erase(call++);
  }
  for (Call& call : ended) {
    for (std::string& answer : call.answers) {
      if (answer.empty()) protocol::append_event(answer, protocol::ErrorEvent{.code = ErrorCode::kNotFound});
    }
    call.done(call.answers);
  }
}

// -------------------------------------------------------------------------------------------------------- commands

void SessionShard::join_room(Session& session, const Command& command) {
  Asker asker = asker_of(session, command);
  const bool heavy = asker.heavy = call_ == 0;  // one request by HTTP may join many rooms
  if (!join(session, command.room_id, std::move(asker), command.since, std::string(command.epoch))) {
    return error(session, command.id, ErrorCode::kTooManyRooms);
  }
  if (heavy) ++session.heavy_;
}

bool SessionShard::join(Session& session, std::string_view room, Asker asker, std::optional<std::uint64_t> since,
                        std::string epoch) {
  Topic& topic = topic_for(TopicKind::kRoom, room);
  Membership* known = find_membership(session, &topic);
  auto request = std::make_unique<AttachRequest>();
  request->asker = std::move(asker);
  request->kind = TopicKind::kRoom;
  request->topic = topic.id;
  request->user = session.user_;
  if (known == nullptr) {
    const auto rooms = std::count_if(session.memberships_.begin(), session.memberships_.end(),
                                     [](const Membership& m) { return m.topic->kind == TopicKind::kRoom; });
    if (static_cast<std::size_t>(rooms) >= limits_.max_rooms_per_session) {
      drop_if_unused(topic);
      return false;
    }
    request->attempt = add_membership(session, topic).sent_seq;
    request->since = since;
    request->epoch = std::move(epoch);
  } else {
    request->already = true;
  }
  manager_.post_home(topic.id, [r = std::move(request)](HomeShard& home) mutable { home.attach(std::move(r)); });
  return true;
}

void SessionShard::leave_room(Session& session, const Command& command) {
  Membership* membership = find_membership(session, find_topic(TopicKind::kRoom, command.room_id));
  if (membership == nullptr) return error(session, command.id, ErrorCode::kNotInRoom);
  DetachRequest request{session.id_, TopicKind::kRoom, membership->topic->id, session.user_, {}, call_};
  if (!command.id.empty() || call_ != 0) {
    protocol::append_event(request.ack, protocol::AckEvent{.id = command.id, .room_id = command.room_id});
  }
  drop_membership(session, *membership);
  const base::SharedString room = request.topic;
  manager_.post_home(room, [r = std::move(request)](HomeShard& home) mutable { home.detach(std::move(r)); });
}

// HOT PATH
void SessionShard::room_message(Session& session, const Command& command) {
  const Topic* topic = find_topic(TopicKind::kRoom, command.room_id);
  if (find_membership(session, topic) == nullptr) return error(session, command.id, ErrorCode::kNotInRoom);
  auto request = std::make_unique<PublishRequest>();
  request->asker = asker_of(session, command);
  request->room = topic->id;
  request->from = session.user_;
  broker::Publication& publication = request->publication;
  publication.type = "message";
  publication.unix_ms = shard_.unix_ms();
  protocol::append_message_body(publication.body, {.room_id = command.room_id,
                                                   .from = session.user_.view(),
                                                   .content = command.content,
                                                   .timestamp_ms = publication.unix_ms,
                                                   .message_id = command.message_id});
  if (!command.message_id.empty()) {
    publication.dedupe_key.append(session.user_.view()).append(1, '\0').append(command.message_id);
  }
  const bool posted = manager_.try_post_home(
      topic->id, [r = std::move(request)](HomeShard& home) mutable { home.publish_to_room(std::move(r)); });
  if (!posted) error(session, command.id, ErrorCode::kOverloaded);
}

void SessionShard::direct_message(Session& session, const Command& command) {
  auto request = std::make_unique<PublishRequest>();
  request->asker = asker_of(session, command);
  request->to_user = base::SharedString(command.to_user);
  request->from = session.user_;
  broker::Publication& publication = request->publication;
  publication.type = "direct_message";
  publication.unix_ms = shard_.unix_ms();
  protocol::append_direct_message_body(publication.body, {.from = session.user_.view(),
                                                          .to_user = command.to_user,
                                                          .content = command.content,
                                                          .timestamp_ms = publication.unix_ms,
                                                          .message_id = command.message_id});
  if (!command.message_id.empty()) {
    publication.dedupe_key.append(session.user_.view()).append(1, '\0').append(command.message_id);
  }
  const base::SharedString to_user = request->to_user;
  const bool posted = manager_.try_post_home(
      to_user, [r = std::move(request)](HomeShard& home) mutable { home.publish_direct(std::move(r)); });
  if (!posted) error(session, command.id, ErrorCode::kOverloaded);
}

void SessionShard::typing(Session& session, const Command& command, bool starts) {
  const Topic* topic = find_topic(TopicKind::kRoom, command.room_id);
  if (find_membership(session, topic) == nullptr) return error(session, command.id, ErrorCode::kNotInRoom);
  const bool posted = manager_.try_post_home(topic->id, [room = topic->id, user = session.user_,
                                                         starts](HomeShard& home) { home.typing(room, user, starts); });
  if (!posted) return error(session, command.id, ErrorCode::kOverloaded);
  ack(session, command.id);
}

void SessionShard::presence_query(Session& session, const Command& command) {
  // By HTTP: nobody waits there.
  if (session.heavy_ >= kMaxHeavy) return error(session, command.id, ErrorCode::kOverloaded);
  // One message a home shard, however many users.
  boost::container::small_vector<std::vector<base::SharedString>, 8> by_home(manager_.shards().size());
  for (const std::string_view user : command.user_ids) {
    base::SharedString id(user);
    by_home[manager_.home_index(id)].push_back(std::move(id));
  }
  auto gather = std::make_shared<Gather>();
  gather->asker = asker_of(session, command);
  for (const auto& users : by_home) gather->waiting += users.empty() ? 0 : 1;
  if (gather->waiting == 0) {
    gather->waiting = 1;
    return gathered(gather, {}, 0, false);
  }
  gather->asker.heavy = true;
  ++session.heavy_;
  for (auto& users : by_home) {
    if (users.empty()) continue;
    const base::SharedString first = users.front();
    manager_.post_home(first,
                       [users = std::move(users), gather](HomeShard& home) { home.presence_query(users, gather); });
  }
}

void SessionShard::presence_watch(Session& session, const Command& command) {
  // All of them or none.
  if (session.watches_ + command.user_ids.size() > limits_.max_watches_per_session) {
    boost::unordered_flat_set<std::string_view> added;
    for (const std::string_view user : command.user_ids) {
      if (find_membership(session, find_topic(TopicKind::kWatch, user)) == nullptr) added.insert(user);
    }
    if (session.watches_ + added.size() > limits_.max_watches_per_session) {
      return error(session, command.id, ErrorCode::kTooManyWatches);
    }
  }
  for (const std::string_view user : command.user_ids) {
    Topic& topic = topic_for(TopicKind::kWatch, user);
    auto request = std::make_unique<AttachRequest>();
    request->asker.session = session.id_;
    request->kind = TopicKind::kWatch;
    request->topic = topic.id;
    request->user = session.user_;
    if (find_membership(session, &topic) != nullptr) {
      request->already = true;
    } else {
      ++session.watches_;
      request->attempt = add_membership(session, topic).sent_seq;
    }
    manager_.post_home(topic.id, [r = std::move(request)](HomeShard& home) mutable { home.attach(std::move(r)); });
  }
  ack(session, command.id);
}

void SessionShard::presence_unwatch(Session& session, const Command& command) {
  for (const std::string_view user : command.user_ids) {
    Membership* membership = find_membership(session, find_topic(TopicKind::kWatch, user));
    if (membership == nullptr) continue;
    DetachRequest request{session.id_, TopicKind::kWatch, membership->topic->id, session.user_};
    drop_membership(session, *membership);
    --session.watches_;
    const base::SharedString id = request.topic;
    manager_.post_home(id, [r = std::move(request)](HomeShard& home) mutable { home.detach(std::move(r)); });
  }
  ack(session, command.id);
}

void SessionShard::set_status(Session& session, const Command& command) {
  std::string json;
  const Asker asker = asker_of(session, command);
  if (asker.wants_answer()) protocol::append_event(json, protocol::AckEvent{.id = command.id});
  manager_.post_home(
      session.user_,
      [user = session.user_, id = session.id_, call = asker.call, status = status_of(command.status),
       json = std::move(json)](HomeShard& home) mutable { home.set_status(user, id, status, std::move(json), call); });
}

void SessionShard::history(Session& session, const Command& command) {
  HistoryRequest request;
  if (command.room_id.empty()) {
    request.stream = {broker::StreamKind::kInbox, session.user_};
  } else {
    const Topic* topic = find_topic(TopicKind::kRoom, command.room_id);
    if (find_membership(session, topic) == nullptr) return error(session, command.id, ErrorCode::kNotInRoom);
    request.stream = {broker::StreamKind::kRoom, topic->id};
  }
  if (session.heavy_ >= kMaxHeavy) return error(session, command.id, ErrorCode::kOverloaded);  // as presence_query
  request.asker = asker_of(session, command);
  request.asker.heavy = true;
  request.range.limit = command.limit.value_or(protocol::kHistoryLimitDefault);
  // An answer is one message, so its size is bounded too; `more` tells that there is more.
  request.range.max_bytes = limits_.out_queue_bytes / 2;
  if (command.since_seq) {
    request.range.from = broker::ReadRange::From::kSince;
    request.range.seq = *command.since_seq;
  } else if (command.before_seq) {
    request.range.from = broker::ReadRange::From::kBefore;
    request.range.seq = *command.before_seq;
  }
  const base::SharedString id = request.stream.id;
  const bool posted = manager_.try_post_home(id, [r = std::make_unique<HistoryRequest>(std::move(request))](
                                                     HomeShard& home) mutable { home.history(std::move(r)); });
  if (!posted) return error(session, command.id, ErrorCode::kOverloaded);
  ++session.heavy_;
}

void SessionShard::signal(Session& session, const Command& command) {
  SessionId to_session = 0;
  if (!command.to_session.empty()) {
    // Whichever node it is of: those that have sessions of the user look for it.
    const auto name = ConnectionManager::parse_session_text(command.to_session);
    if (!name) return error(session, command.id, ErrorCode::kUserOffline);
    to_session = name->id;
  }
  struct Signal {
    Asker asker;
    base::SharedString from, to_user;
    SessionId to_session;
    std::string data;
  };
  auto request =
      std::make_unique<Signal>(Signal{asker_of(session, command), session.user_, base::SharedString(command.to_user),
                                      to_session, std::string(command.data)});
  const base::SharedString to_user = request->to_user;
  const bool posted = manager_.try_post_home(to_user, [r = std::move(request)](HomeShard& home) {
    home.signal(r->asker, r->from, r->to_user, r->to_session, r->data);
  });
  if (!posted) error(session, command.id, ErrorCode::kOverloaded);
}

}  // namespace hubbub::hub
