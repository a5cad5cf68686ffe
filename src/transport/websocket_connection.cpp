#include "hubbub/transport/websocket_connection.hpp"

#include <utility>

#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/ws_handshake.hpp"
#include "hubbub/transport/http_connection.hpp"
#include "hubbub/transport/session_request.hpp"

namespace hubbub::transport {

using protocol::CloseCode;
using protocol::ErrorCode;
using protocol::Opcode;

namespace {
// "Dead after two silent ones": a heartbeat at which two pings have gone unanswered.
constexpr std::uint8_t kMaxSilentHeartbeats = 2;
constexpr std::size_t kMaxEchoQueueBytes = 64 * 1024 * 1024;
}  // namespace

/// Adapts the decoder's calls; lives on the stack of feed(), so that a connection does not pay for a second table.
class WebSocketConnection::Sink final : public protocol::FrameSink {
 public:
  explicit Sink(WebSocketConnection& connection) : connection_(connection) {}
  bool on_message(Opcode opcode, std::string_view payload) override { return connection_.on_message(opcode, payload); }
  bool on_ping(std::string_view payload) override {
    connection_.send_frame(Opcode::kPong, payload);
    return true;
  }
  bool on_pong(std::string_view) override { return true; }
  bool on_close(std::uint16_t code, std::string_view) override {
    // Section 5.5.1: a close is answered with a close, typically of the same code. Its user is gone now, not when TCP
    // has come to its end.
    connection_.end_session();
    connection_.fail(code, {});
    return false;
  }

 private:
  WebSocketConnection& connection_;
};

WebSocketConnection::WebSocketConnection(TransportConnection& from, bool deflate, SessionRequest* wanted)
    : TransportConnection(from), deflate_(deflate), echo_(wanted == nullptr) {
  if (wanted == nullptr) return;
  const auto framing = deflate ? hub::Framing::kWebSocketDeflate : hub::Framing::kWebSocket;
  session_ =
      &transport().context().manager.sessions(shard()).open(wanted->user, framing, *this, std::move(wanted->resume));
}

WebSocketConnection::~WebSocketConnection() { end_session(); }

void WebSocketConnection::end_session() {
  if (session_ != nullptr) std::exchange(session_, nullptr)->closed();
}

void WebSocketConnection::start(std::span<char> early) {
  arm_timer(transport().options().heartbeat_ms);
  if (!early.empty()) feed(early);
}

void WebSocketConnection::on_readable() {
  const std::span<char> buffer = shard().read_buffer();
  const std::ptrdiff_t n = read_some(buffer);
  if (n > 0) {
    feed(buffer.first(static_cast<std::size_t>(n)));
  } else if (n == 0 || n != -EAGAIN) {
    close_now();
  }
}

// HOT PATH
void WebSocketConnection::feed(std::span<char> bytes) {
  silent_heartbeats_ = 0;
  Sink sink(*this);
  const protocol::DecodeResult result =
      decoder_.feed(bytes, transport().decoder_config(deflate_), &transport().inflater(), sink);
  if (result.close_code != 0) fail(result.close_code, result.reason);
}

bool WebSocketConnection::on_message(Opcode opcode, std::string_view payload) {
  if (echo_) {
    if (deflate_) {
      std::string compressed;
      std::string frame;
      transport().echo_deflater().deflate(payload, compressed);
      protocol::append_frame(frame, opcode, compressed, true);
      send_bytes(frame);
    } else {
      send_frame(opcode, payload);
    }
    if (Channel::queued_bytes() >= kMaxEchoQueueBytes) close(CloseCode::kSlowConsumer);
    return !is_closing();
  }
  if (opcode == Opcode::kBinary) {
    close(CloseCode::kUnsupportedData);
    return false;
  }
  session_->receive(payload);
  return !is_closing();
}

void WebSocketConnection::deliver(const runtime::BatchRef& batch, std::uint32_t begin) {
  if (!is_closing()) send_batch(batch, begin);
}

void WebSocketConnection::send(std::string_view json) {
  if (is_closing()) return;
  std::string frame;
  const auto framing = deflate_ ? hub::Framing::kWebSocketDeflate : hub::Framing::kWebSocket;
  transport().context().manager.sessions(shard()).framer().append(frame, framing, json);
  send_bytes(frame);
}

void WebSocketConnection::send_frame(Opcode opcode, std::string_view payload) {
  if (is_closing()) return;
  std::string frame;
  protocol::append_frame(frame, opcode, payload);
  send_bytes(frame);
}

void WebSocketConnection::close(CloseCode code) {
  if (is_closing()) return;
  if (Channel::is_blocked()) drop_unsent();  // what was not begun will not be read in time
  fail(static_cast<std::uint16_t>(code), protocol::close_info(code).name);
}

void WebSocketConnection::fail(std::uint16_t code, std::string_view reason) {
  if (is_closing()) return;
  send_frame(Opcode::kClose, protocol::close_payload(code, reason));
  close_gracefully(transport().options().close_timeout_ms);
}

void WebSocketConnection::on_blocked() {
  // A peer that sends and does not read would have us queue answers without end.
  if (!reading_paused_ && Channel::queued_bytes() > transport().options().out_queue_bytes) {
    reading_paused_ = true;
    set_reading(false);
  }
  if (session_ != nullptr && !is_closing()) session_->blocked();
}

void WebSocketConnection::on_progress() {
  silent_heartbeats_ = 0;
  if (session_ != nullptr) session_->progressed();
}

void WebSocketConnection::on_drained() {
  silent_heartbeats_ = 0;
  if (std::exchange(reading_paused_, false)) set_reading(is_reading());
  if (session_ != nullptr) session_->drained();
}

void WebSocketConnection::hold_input(bool on) {
  input_held_ = on;
  if (!is_closing()) set_reading(is_reading());
}

void WebSocketConnection::on_timer() {
  // Behind megabytes that a slow peer has yet to read a ping arrives late, and while we are blocked none is sent: who
  // takes bytes from a full pipe lives. on_progress() tells of it only when much of the kernel's buffer is free again.
  const auto acknowledged = static_cast<std::uint32_t>(Channel::acknowledged_while_sending());
  const auto before = std::exchange(acknowledged_, acknowledged);
  if (acknowledged != 0 && before != 0 && acknowledged != before) silent_heartbeats_ = 0;
  if (silent_heartbeats_ >= kMaxSilentHeartbeats) return close(CloseCode::kHeartbeatTimeout);
  // While we do not read, silence proves nothing; the slow consumer's grace decides then.
  if (is_reading()) ++silent_heartbeats_;
  if (!Channel::is_blocked()) send_frame(Opcode::kPing, {});
  arm_timer(transport().options().heartbeat_ms);
}

void WebSocketConnection::on_closed() { end_session(); }

void WebSocketConnection::on_stop() { close(CloseCode::kGoingAway); }

namespace {

void handle_upgrade(HttpConnection& connection, const HttpRequest& request, SessionRequest* wanted) {
  ShardTransport& transport = connection.transport();
  const bool wants_upgrade = request.is_http_1_1() && has_token(request.header("Connection"), "upgrade") &&
                             has_token(request.header("Upgrade"), "websocket");
  if (request.method() != "GET" || !wants_upgrade || request.header("Sec-WebSocket-Version") != "13") {
    HttpResponse response = error_response(ErrorCode::kUpgradeRequired);
    response.extra_headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    return connection.respond(response);
  }
  const std::string key = request.header("Sec-WebSocket-Key");
  if (!protocol::is_valid_client_key(key)) {
    return connection.respond(error_response(ErrorCode::kBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64."));
  }
  if (wanted == nullptr ? transport.context().stopping.load() : refuse_new_session(connection)) {
    if (wanted == nullptr) connection.respond(error_response(ErrorCode::kOverloaded));
    return;
  }
  std::string headers = "Sec-WebSocket-Accept: " + protocol::accept_key(key) + "\r\n";
  if (has_exact_token(request.header("Sec-WebSocket-Protocol"), "hubbub.v1")) {
    headers += "Sec-WebSocket-Protocol: hubbub.v1\r\n";
  }
  bool deflate = false;
  if (transport.options().compression) {
    if (const auto answer = protocol::negotiate_deflate(request.header("Sec-WebSocket-Extensions"))) {
      deflate = true;
      headers += "Sec-WebSocket-Extensions: " + *answer + "\r\n";
    }
  }
  connection.upgrade_to_websocket(headers, deflate, wanted);
}

void handle_user(HttpConnection& connection, const HttpRequest& request) {
  auto wanted = parse_session_request(connection, request, {"since", "cursor"}, {});
  if (wanted) handle_upgrade(connection, request, &*wanted);
}

}  // namespace

void add_websocket_routes(Router& router, bool echo) {
  router.add({"GET", "/ws/{user_id}", handle_user});
  router.add({"GET", "/ws", handle_user});
  if (!echo) return;
  router.add({"GET", "/echo", [](HttpConnection& connection, const HttpRequest& request) {
                handle_upgrade(connection, request, nullptr);
              }});
}

}  // namespace hubbub::transport
