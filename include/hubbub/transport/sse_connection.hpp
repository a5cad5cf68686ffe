#pragma once

#include <cstdint>
#include <string_view>

#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

class HttpSession;

/// The socket of an event stream: what its HttpSession writes goes out, what comes in is thrown away. The response has
/// no length and ends with the connection (RFC 9112 6.3, 8), so that blocks are shared as they are, without chunks.
/// [shard]
class SseConnection final : public TransportConnection {
 public:
  explicit SseConnection(TransportConnection& from);
  ~SseConnection() override;

  void start(HttpSession& session);
  /// What the stream still has is sent, then it ends. The session has let go of it.
  void end();

 private:
  friend class HttpSession;
  void on_readable() override;
  void on_flush() override;
  void on_blocked() override;
  void on_progress() override;
  void on_drained() override;
  void on_timer() override;
  void on_closed() override;
  void on_stop() override;

  void send_cursor();
  void arm();

  HttpSession* session_ = nullptr;
  std::int64_t written_ms_ = 0;
  std::int64_t cursor_ms_ = 0;  // when the last cursor went out
  bool cursor_waits_ = false;
};

}  // namespace hubbub::transport
