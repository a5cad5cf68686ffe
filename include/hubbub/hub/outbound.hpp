#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hubbub/protocol/errors.hpp"
#include "hubbub/runtime/batch.hpp"

namespace hubbub::hub {

/// All that a session knows of its transport. None of these closes the connection or calls back before it returns.
/// [shard]
class Outbound {
 public:
  /// Queues what `batch` holds from `begin` on, as of the end of this turn. HOT PATH
  virtual void deliver(const runtime::BatchRef& batch, std::uint32_t begin) = 0;
  /// Ends a delivery of this turn at what the batch holds now: the session left the room.
  virtual void cut(const runtime::Batch* batch) = 0;
  /// Queues one event for this session alone.
  virtual void send(std::string_view json) = 0;
  /// The same, for what need not be kept lest it gets lost: the session is sent it anew when it goes back to an earlier
  /// cursor, or it is ephemeral.
  virtual void send_recoverable(std::string_view json) { send(json); }
  /// Drops what was not begun, says `code` and closes.
  virtual void close(protocol::CloseCode code) = 0;
  /// Its client has gone on with another session: it may go soon, but not before that one has taken its place.
  virtual void retire() { close(protocol::CloseCode::kReplaced); }
  /// Takes no more from the client until it is told to go on: its session has enough to answer. May be ignored where
  /// commands do not come by the connection that is written to.
  virtual void hold_input(bool on) = 0;
  virtual std::size_t queued_bytes() const = 0;
  virtual bool is_blocked() const = 0;

 protected:
  ~Outbound() = default;
};

}  // namespace hubbub::hub
