#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "hubbub/hub/outbound.hpp"
#include "hubbub/hub/session.hpp"
#include "hubbub/protocol/ws_frame.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

struct SessionRequest;

/// RFC 6455 after the handshake. Idle it is this object and its session, nothing else. [shard]
class WebSocketConnection final : public TransportConnection, public hub::Outbound {
 public:
  /// Goes on with the socket of `from`. `wanted` null: an echo without a session, for conformance suites.
  WebSocketConnection(TransportConnection& from, bool deflate, SessionRequest* wanted);
  ~WebSocketConnection() override;

  /// `early`: what had arrived behind the handshake.
  void start(std::span<char> early);

  // hub::Outbound
  void deliver(const runtime::BatchRef& batch, std::uint32_t begin) override;
  void cut(const runtime::Batch* batch) override { close_open_slice(batch); }
  void send(std::string_view json) override;
  void close(protocol::CloseCode code) override;
  void hold_input(bool on) override;
  std::size_t queued_bytes() const override { return Channel::queued_bytes(); }
  bool is_blocked() const override { return Channel::is_blocked(); }

 private:
  class Sink;

  void on_readable() override;
  void on_blocked() override;
  void on_progress() override;
  void on_drained() override;
  void on_timer() override;
  void on_closed() override;
  void on_stop() override;

  bool is_reading() const { return !reading_paused_ && !input_held_; }
  void feed(std::span<char> bytes);
  void end_session();
  bool on_message(protocol::Opcode opcode, std::string_view payload);
  void fail(std::uint16_t code, std::string_view reason);
  void send_frame(protocol::Opcode opcode, std::string_view payload);

  hub::Session* session_ = nullptr;
  protocol::Decoder decoder_;
  std::uint32_t acknowledged_ = 0;  // acknowledged_while_sending() at the last heartbeat, its low part
  std::uint8_t silent_heartbeats_ = 0;
  bool deflate_;
  bool echo_;
  bool reading_paused_ = false;  // too much is queued
  bool input_held_ = false;      // the session has enough to answer
};
static_assert(sizeof(WebSocketConnection) <= 152, "the next larger heap block, for each session");

/// The routes `/ws/{user_id}` and `/ws?user_id=`; with `echo` also `/echo`.
void add_websocket_routes(Router& router, bool echo);

}  // namespace hubbub::transport
