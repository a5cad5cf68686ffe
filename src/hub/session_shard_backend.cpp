#include <utility>

#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/event.hpp"

// What backends have done to sessions, and the `received` that they may wait for.
namespace hubbub::hub {

std::size_t SessionShard::carry_out(const SessionOrder& order, const std::vector<SessionId>& sessions) {
  std::size_t count = 0;
  for (const SessionId id : sessions) {
    Session* session = find_session(id);
    if (session == nullptr) continue;
    switch (order.what) {
      case SessionOrder::What::kJoin:
        // Whoever is in the room stays as they are; `joined` is the answer to a join.
        if (find_membership(*session, find_topic(TopicKind::kRoom, order.room)) != nullptr ||
            join(*session, order.room.view(), {id}, std::nullopt, {})) {
          ++count;
        }
        break;
      case SessionOrder::What::kLeave:
        if (remove(*session, find_topic(TopicKind::kRoom, order.room))) ++count;
        break;
      case SessionOrder::What::kDisconnect:
        session->outbound_->close(protocol::CloseCode::kDisconnected);
        ++count;
        break;
    }
  }
  return count;
}

/// Takes the session out of the room and tells it.
bool SessionShard::remove(Session& session, const Topic* room) {
  Membership* membership = find_membership(session, room);
  if (membership == nullptr) return false;
  DetachRequest request{session.id_, TopicKind::kRoom, room->id, session.user_};
  // Who has not been told `joined` yet will be: then `removed` comes behind it, as the answer to the leave.
  const bool joining = membership->state == Membership::State::kJoining;
  drop_membership(session, *membership);
  protocol::append_event(request.ack, protocol::RemovedEvent{.room_id = request.topic.view()});
  if (!joining) send(session, std::exchange(request.ack, {}));
  const base::SharedString id = request.topic;
  manager_.post_home(id, [r = std::move(request)](HomeShard& home) mutable { home.detach(std::move(r)); });
  return true;
}

std::size_t SessionShard::remove_all(const base::SharedString& room) {
  Topic* topic = find_topic(TopicKind::kRoom, room);
  if (topic == nullptr) return 0;
  std::vector<Session*> sessions;
  if (topic->memberships == topic->members.size()) {
    for (const Topic::Member& member : topic->members) sessions.push_back(member.session);
  } else {
    // Some have not been answered their join yet, so the topic does not know them. They go too: the topic must begin
    // anew with the stream.
    for (const auto& session : sessions_) {
      if (session && find_membership(*session, topic) != nullptr) sessions.push_back(session.get());
    }
  }
  // `topic` goes with the last of them.
  for (Session* session : sessions) remove(*session, find_topic(TopicKind::kRoom, room));
  return sessions.size();
}

void SessionShard::retire(SessionId id) {
  if (Session* session = find_session(id)) session->outbound_->retire();
}

std::size_t SessionShard::broadcast(const EventRef& event) {
  std::array<runtime::BatchRef, kFramingCount> batches;
  std::size_t count = 0;
  for (const auto& session : sessions_) {
    if (!session || !session->attached_) continue;
    ++count;
    if (session->pressure_) {
      conflate(*session, nullptr, event);
      continue;
    }
    runtime::BatchRef& batch = batches[static_cast<std::size_t>(session->framing_)];
    if (!batch) {
      batch = shard_.batches().acquire();
      framer_.append(batch->bytes, session->framing_, *event);
    }
    session->outbound_->deliver(batch, 0);
    counters_.deliveries.add();
  }
  return count;
}

void SessionShard::received(Session& session, const protocol::Command& command) {
  if (command.room_id.empty() && manager_.reports_waiting().load(std::memory_order_relaxed) != 0) {
    const bool posted = manager_.try_post_home(
        session.user_, [user = session.user_, seq = *command.seq](HomeShard& home) { home.received(user, seq); });
    if (!posted) return error(session, command.id, protocol::ErrorCode::kOverloaded);
  }
  ack(session, command.id);
}

}  // namespace hubbub::hub
