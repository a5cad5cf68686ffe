#include "hubbub/transport/sse_connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "hubbub/protocol/sse.hpp"
#include "hubbub/transport/http_session.hpp"

namespace hubbub::transport {

SseConnection::SseConnection(TransportConnection& from) : TransportConnection(from) {}

SseConnection::~SseConnection() {
  if (session_ != nullptr) std::exchange(session_, nullptr)->on_stream_closed(*this);
}

void SseConnection::start(HttpSession& session) {
  session_ = &session;
  written_ms_ = shard().now_ms();
  arm_timer(transport().options().sse_keepalive_ms);
}

void SseConnection::end() {
  session_ = nullptr;
  close_gracefully(transport().options().close_timeout_ms);
}

void SseConnection::on_readable() {
  // A client has nothing more to say here; only its end counts.
  const std::ptrdiff_t n = read_some(shard().read_buffer());
  if (n == 0 || (n < 0 && n != -EAGAIN)) close_now();
}

void SseConnection::on_flush() {
  written_ms_ = shard().now_ms();
  if (session_ == nullptr) return;
  std::string block;
  session_->append_cursor_block(block);
  if (!block.empty()) send_bytes(block);
}

void SseConnection::on_blocked() {
  if (session_ == nullptr) return;
  if (hub::Session* session = session_->live_session()) session->blocked();
}

void SseConnection::on_progress() {
  if (session_ == nullptr) return;
  if (hub::Session* session = session_->live_session()) session->progressed();
}

void SseConnection::on_drained() {
  if (session_ == nullptr) return;
  std::string block;
  session_->append_cursor_block(block);  // held back while the socket was full
  if (!block.empty()) send_bytes(block);
  if (hub::Session* session = session_->live_session()) session->drained();
}

// A peer that vanished without a word answers no keepalive; TCP gives up by itself, see stream_to.
void SseConnection::on_timer() {
  const std::int64_t silent_ms = shard().now_ms() - written_ms_;
  const std::int64_t keepalive_ms = transport().options().sse_keepalive_ms;
  if (silent_ms >= keepalive_ms && !is_blocked()) send_bytes(protocol::kSseKeepalive);
  arm_timer(silent_ms >= keepalive_ms ? keepalive_ms : keepalive_ms - silent_ms);
}

void SseConnection::on_closed() {
  if (session_ != nullptr) std::exchange(session_, nullptr)->on_stream_closed(*this);
}

void SseConnection::on_stop() {
  if (session_ == nullptr) close_gracefully(transport().options().close_timeout_ms);
}

}  // namespace hubbub::transport
