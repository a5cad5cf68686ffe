#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <charconv>
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

constexpr std::size_t kMaxHeldBytes = 1024 * 1024;

Status status_of(std::string_view name) {
  return name == "away" ? Status::kAway : name == "busy" ? Status::kBusy : Status::kOnline;
}

}  // namespace

// `connected` comes first: what an eager client says with its handshake waits until its user's home shard has answered.
void SessionShard::hold(Session& session, std::string_view text) {
  Held& held = held_[session.id_];
  held.bytes += text.size() + sizeof(std::string);
  if (held.bytes > kMaxHeldBytes) return session.outbound_->close(protocol::CloseCode::kRateLimited);
  held.texts.emplace_back(text);
}

void SessionShard::receive(Session& session, std::string_view text) {
  if (!session.attached_) return hold(session, text);
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
    case CommandType::kReceived:
      return ack(session, command.id);
    case CommandType::kSignal:
      return signal(session, command);
    case CommandType::kPing:
      scratch_.clear();
      protocol::append_event(scratch_, protocol::PongEvent{.id = command.id});
      return send(session, scratch_);
  }
}

void SessionShard::error(Session& session, std::string_view id, ErrorCode code, std::string_view field) {
  counters_.command_errors.add();
  scratch_.clear();
  protocol::append_event(scratch_, protocol::ErrorEvent{.id = id, .code = code, .field = field});
  send(session, scratch_);
}

void SessionShard::ack(Session& session, std::string_view id) {
  if (id.empty()) return;
  scratch_.clear();
  protocol::append_event(scratch_, protocol::AckEvent{.id = id});
  send(session, scratch_);
}

void SessionShard::join_room(Session& session, const Command& command) {
  Topic& topic = topic_for(TopicKind::kRoom, command.room_id);
  Membership* known = find_membership(session, &topic);
  auto request = std::make_unique<AttachRequest>();
  request->asker = {session.id_, std::string(command.id)};
  request->kind = TopicKind::kRoom;
  request->topic = topic.id;
  request->user = session.user_;
  if (known == nullptr) {
    const auto rooms = std::count_if(session.memberships_.begin(), session.memberships_.end(),
                                     [](const Membership& m) { return m.topic->kind == TopicKind::kRoom; });
    if (static_cast<std::size_t>(rooms) >= limits_.max_rooms_per_session) {
      drop_if_unused(topic);
      return error(session, command.id, ErrorCode::kTooManyRooms);
    }
    request->attempt = add_membership(session, topic).sent_seq;
    request->since = command.since;
    request->epoch = command.epoch;
  } else {
    request->already = true;
  }
  manager_.post_home(topic.id, [r = std::move(request)](HomeShard& home) mutable { home.attach(std::move(r)); });
}

void SessionShard::leave_room(Session& session, const Command& command) {
  Membership* membership = find_membership(session, find_topic(TopicKind::kRoom, command.room_id));
  if (membership == nullptr) return error(session, command.id, ErrorCode::kNotInRoom);
  DetachRequest request{session.id_, TopicKind::kRoom, membership->topic->id, session.user_, {}};
  if (!command.id.empty()) {
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
  request->asker = {session.id_, std::string(command.id)};
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
  request->asker = {session.id_, std::string(command.id)};
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
  // One message a home shard, however many users.
  boost::container::small_vector<std::vector<base::SharedString>, 8> by_home(manager_.shards().size());
  for (const std::string_view user : command.user_ids) {
    base::SharedString id(user);
    by_home[manager_.home_index(id)].push_back(std::move(id));
  }
  auto gather = std::make_shared<Gather>();
  gather->asker = {session.id_, std::string(command.id)};
  for (const auto& users : by_home) gather->waiting += users.empty() ? 0 : 1;
  if (gather->waiting == 0) {
    gather->waiting = 1;
    return gathered(gather, {}, 0);
  }
  for (auto& users : by_home) {
    if (users.empty()) continue;
    const base::SharedString first = users.front();
    manager_.post_home(first,
                       [users = std::move(users), gather](HomeShard& home) { home.presence_query(users, gather); });
  }
}

void SessionShard::presence_watch(Session& session, const Command& command) {
  for (const std::string_view user : command.user_ids) {
    Topic& topic = topic_for(TopicKind::kWatch, user);
    auto request = std::make_unique<AttachRequest>();
    request->asker = {session.id_, {}};
    request->kind = TopicKind::kWatch;
    request->topic = topic.id;
    request->user = session.user_;
    if (find_membership(session, &topic) != nullptr) {
      request->already = true;
    } else if (session.watches_ >= limits_.max_watches_per_session) {
      drop_if_unused(topic);
      return error(session, command.id, ErrorCode::kTooManyWatches);
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
    DetachRequest request{session.id_, TopicKind::kWatch, membership->topic->id, session.user_, {}};
    drop_membership(session, *membership);
    --session.watches_;
    const base::SharedString id = request.topic;
    manager_.post_home(id, [r = std::move(request)](HomeShard& home) mutable { home.detach(std::move(r)); });
  }
  ack(session, command.id);
}

void SessionShard::set_status(Session& session, const Command& command) {
  std::string json;
  if (!command.id.empty()) protocol::append_event(json, protocol::AckEvent{.id = command.id});
  manager_.post_home(session.user_, [user = session.user_, id = session.id_, status = status_of(command.status),
                                     json = std::move(json)](HomeShard& home) mutable {
    home.set_status(user, id, status, std::move(json));
  });
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
  request.asker = {session.id_, std::string(command.id)};
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
                                                     HomeShard& home) mutable { home.history(std::move(*r)); });
  if (!posted) error(session, command.id, ErrorCode::kOverloaded);
}

void SessionShard::signal(Session& session, const Command& command) {
  SessionId to_session = 0;
  if (!command.to_session.empty()) {
    const auto* end = command.to_session.data() + command.to_session.size();
    const auto [parsed, failed] = std::from_chars(command.to_session.data(), end, to_session, 16);
    if (failed != std::errc{} || parsed != end || command.to_session.size() != 16 || to_session == 0) {
      return error(session, command.id, ErrorCode::kUserOffline);
    }
  }
  struct Signal {
    Asker asker;
    base::SharedString from, to_user;
    SessionId to_session;
    std::string data;
  };
  auto request = std::make_unique<Signal>(Signal{{session.id_, std::string(command.id)},
                                                 session.user_,
                                                 base::SharedString(command.to_user),
                                                 to_session,
                                                 std::string(command.data)});
  const base::SharedString to_user = request->to_user;
  const bool posted = manager_.try_post_home(to_user, [r = std::move(request)](HomeShard& home) {
    home.signal(r->asker, r->from, r->to_user, r->to_session, r->data);
  });
  if (!posted) error(session, command.id, ErrorCode::kOverloaded);
}

}  // namespace hubbub::hub
