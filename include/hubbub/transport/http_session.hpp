#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/base/timing_wheel.hpp"
#include "hubbub/hub/outbound.hpp"
#include "hubbub/hub/session_shard.hpp"
#include "hubbub/protocol/cursor.hpp"
#include "hubbub/runtime/out_queue.hpp"
#include "hubbub/transport/http_connection.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

class SseConnection;

/// A session over Server-Sent Events or polling: it outlives each of its connections by `session_linger`, so that a
/// reconnect is no leave and join. While there is none its session is suspended. Owns itself: goes when the linger is
/// over, or when the hub ends the session. [shard]
class HttpSession final : public hub::Outbound, public runtime::Flushable, public ResponseWaiter, private base::Timer {
 public:
  /// `framing` kSse or kPoll. `plain`: found again by the user alone.
  HttpSession(ShardTransport& transport, const base::SharedString& user, hub::Framing framing,
              std::unique_ptr<hub::Resume> resume, bool plain);
  ~HttpSession() override;
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  const hub::Session& session() const { return *session_; }
  hub::Framing framing() const { return framing_; }
  bool is_ending() const { return ending_; }

  // SSE
  /// The stream goes to `connection` now; an older one is closed. With a cursor it goes on from there.
  void stream_to(SseConnection& connection, const protocol::Cursor* cursor, bool resumed);
  void on_stream_closed(const SseConnection& connection);
  hub::Session* live_session() { return ending_ ? nullptr : session_; }
  /// Something was written since the last cursor's block.
  bool is_cursor_due() const { return cursor_due_ && !ending_; }
  /// The cursor's block, if it says anything new.
  void append_cursor_block(std::string& out);

  // Polling
  /// Answers `connection` as soon as there is something, or after `timeout_ms`; an older poll is answered at once. With
  /// a cursor that does not know of the last answer, what that had for this session alone is given again.
  void poll(HttpConnection& connection, std::int64_t timeout_ms, const protocol::Cursor* cursor, bool resumed);
  void on_connection_gone() override;
  /// A client that goes on by cursor has this session for itself.
  void forget_plain();

  /// Another session of the same client has taken its place: it may go soon, with its joins counted until then.
  void retire() override;
  void on_stop();

  // hub::Outbound
  void deliver(const runtime::BatchRef& batch, std::uint32_t begin) override;
  void cut(const runtime::Batch* batch) override;
  void send(std::string_view json) override;
  void send_recoverable(std::string_view json) override;
  void close(protocol::CloseCode code) override;
  void hold_input(bool) override {}  // commands come by requests of their own
  std::size_t queued_bytes() const override;
  bool is_blocked() const override;

  void flush() override;

 private:
  void on_time();
  void linger();
  void end();
  void mark_dirty();
  void answer_poll();
  void take_cursor(const protocol::Cursor* cursor);
  /// The waiting connection, which waits no more.
  HttpConnection* take_poller();
  void arm_after(std::int64_t ms) { transport_.shard().wheel().arm(*this, transport_.shard().now_ms() + ms); }

  ShardTransport& transport_;
  hub::Session* session_ = nullptr;
  SseConnection* stream_ = nullptr;
  HttpConnection* poller_ = nullptr;
  runtime::OutQueue queue_;  // kPoll: for the next answer; kSse: what came while there was no connection
  /// What was for this session alone, in the poll's framing, until a cursor shows that it has arrived. At most
  /// kUnsureMaxBytes; null for who is quiet.
  struct Unsure {
    std::string given;                                        // in answers that may be lost
    std::vector<std::pair<std::uint32_t, std::size_t>> ends;  // of each answer's part of it: its number, where it ends
    std::string fresh;                                        // in queue_
  };
  std::unique_ptr<Unsure> unsure_;
  std::uint64_t key_tag_;
  std::uint32_t answers_ = 0;      // with something for this session alone, to polls with a cursor
  std::uint32_t cursor_told_ = 0;  // hash of the last cursor block's
  hub::Framing framing_;
  bool plain_;
  bool dirty_ = false;
  bool cursor_due_ = false;
  bool poll_due_ = false;  // answer even if there is nothing
  bool ending_ = false;
  bool by_cursor_ = false;  // the poll that waits
  bool again_ = false;      // its answer begins with unsure_->given
};

/// The routes `/events/{user_id}`, `/poll/{user_id}` and `/sessions/{session_id}/commands`.
void add_http_session_routes(Router& router);

}  // namespace hubbub::transport
