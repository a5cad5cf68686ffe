#include "hubbub/hub/session.hpp"

#include "hubbub/hub/session_shard.hpp"

namespace hubbub::hub {

Session::Session(SessionShard& shard, SessionId id, base::SharedString user, Framing framing, Outbound& outbound)
    : shard_(shard), outbound_(&outbound), user_(std::move(user)), id_(id), framing_(framing) {}

void Session::receive(std::string_view text) { shard_.receive(*this, text); }
void Session::blocked() { shard_.on_blocked(*this); }
void Session::progressed() {
  if (pressure_) pressure_->progress_ms = shard_.shard().now_ms();
}
void Session::drained() { shard_.on_drained(*this); }
void Session::closed() { shard_.close(*this); }

}  // namespace hubbub::hub
