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

namespace {
constexpr std::int64_t kCursorIntervalMs = 100;
}  // namespace

SseConnection::SseConnection(TransportConnection& from) : TransportConnection(from) {}

SseConnection::~SseConnection() {
  if (session_ != nullptr) std::exchange(session_, nullptr)->on_stream_closed(*this);
}

void SseConnection::start(HttpSession& session) {
  session_ = &session;
  written_ms_ = shard().now_ms();
  // Two keepalives without an acknowledgement and the connection is dead. Fails on what is not TCP, harmlessly.
  const auto timeout_ms = static_cast<unsigned>(2 * transport().options().sse_keepalive_ms);
  set_option(IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms);
  arm();
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

// A lone event has its cursor with it. In a stream of them a cursor now and then will do: it is each session's own, so
// it costs more than the events, which all share (measured: a third of a full stream's time).
void SseConnection::on_flush() {
  written_ms_ = shard().now_ms();
  if (session_ == nullptr || !session_->is_cursor_due() || cursor_waits_) return;
  if (written_ms_ - cursor_ms_ >= kCursorIntervalMs) return send_cursor();
  cursor_waits_ = true;
  arm();
}

void SseConnection::send_cursor() {
  cursor_waits_ = false;
  cursor_ms_ = shard().now_ms();
  std::string block;
  session_->append_cursor_block(block);
  if (!block.empty()) send_bytes(block);
}

void SseConnection::arm() {
  const std::int64_t silent_ms = shard().now_ms() - written_ms_;
  const std::int64_t keepalive_ms = std::max<std::int64_t>(transport().options().sse_keepalive_ms - silent_ms, 0);
  const std::int64_t cursor_ms = kCursorIntervalMs - (shard().now_ms() - cursor_ms_);
  arm_timer(cursor_waits_ ? std::min(keepalive_ms, std::max<std::int64_t>(cursor_ms, 0)) : keepalive_ms);
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
  if (session_->is_cursor_due()) send_cursor();  // held back while the socket was full
  if (hub::Session* session = session_->live_session()) session->drained();
}

// A peer that vanished without a word answers no keepalive; then TCP gives up by itself (see start).
void SseConnection::on_timer() {
  if (cursor_waits_ && !is_blocked() && session_ != nullptr) send_cursor();
  if (shard().now_ms() - written_ms_ >= transport().options().sse_keepalive_ms) {
    if (!is_blocked()) send_bytes(protocol::kSseKeepalive);
    written_ms_ = shard().now_ms();
  }
  arm();
}

void SseConnection::on_closed() {
  if (session_ != nullptr) std::exchange(session_, nullptr)->on_stream_closed(*this);
}

void SseConnection::on_stop() {
  if (session_ == nullptr) close_gracefully(transport().options().close_timeout_ms);
}

}  // namespace hubbub::transport
