#include "hubbub/hub/session.hpp"

#include <algorithm>

#include "hubbub/hub/session_shard.hpp"

namespace hubbub::hub {

Session::Session(SessionShard& shard, SessionId id, base::SharedString user, Framing framing, Outbound& outbound)
    : shard_(shard), outbound_(&outbound), user_(std::move(user)), id_(id), framing_(framing) {}

void Session::receive(std::string_view text) { shard_.receive(*this, text); }
void Session::blocked() {
  shard_.on_blocked(*this);
  shard_.proceed(
      *this);  // less may be queued than makes commands wait: else one blocked on little would be held for ever
}
void Session::progressed() {
  if (pressure_) pressure_->progress_ms = shard_.shard().now_ms();
}
void Session::drained() { shard_.on_drained(*this); }
void Session::closed() { shard_.close(*this); }
void Session::suspend() { shard_.suspend(*this); }
void Session::resume(const protocol::Cursor* cursor, bool announce) { shard_.resume(*this, cursor, announce); }
void Session::append_cursor(std::string& out, std::uint64_t key_tag, std::uint64_t answer) {
  shard_.append_cursor(*this, key_tag, out, answer);
}

bool Session::is_settled() const {
  return std::none_of(memberships_.begin(), memberships_.end(), [](const Membership& membership) {
    return membership.topic->kind != TopicKind::kWatch && membership.state != Membership::State::kLive;
  });
}

}  // namespace hubbub::hub
