#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hubbub::protocol {

class Inflater;

/// The server's side of RFC 6455 framing, and permessage-deflate (RFC 7692) without context takeover. Pure: bytes in,
/// calls out.
enum class Opcode : std::uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

inline constexpr std::uint16_t kCloseProtocolError = 1002;
inline constexpr std::uint16_t kCloseNoStatus = 1005;  ///< never sent: stands for a close frame without a code
inline constexpr std::uint16_t kCloseInvalidPayload = 1007;
inline constexpr std::uint16_t kCloseTooBig = 1009;

struct DecoderConfig {
  std::size_t message_max_bytes = 65536;  ///< of one message: all fragments together, inflated
  bool deflate = false;                   ///< permessage-deflate was negotiated
};

/// What a Decoder finds, in the order in which it came. Each call returns false to stop decoding for good (the
/// connection is being closed). Views live only during the call. A call must neither feed nor destroy the decoder,
/// nor use its inflater.
class FrameSink {
 public:
  /// A whole message, fragments joined, inflated; text is valid UTF-8.
  virtual bool on_message(Opcode text_or_binary, std::string_view payload) = 0;
  virtual bool on_ping(std::string_view payload) = 0;
  virtual bool on_pong(std::string_view payload) = 0;
  /// The peer's close frame; nothing is decoded after it, whatever is returned. `code` is kCloseNoStatus when it bore
  /// none, and else one that a peer may send.
  virtual bool on_close(std::uint16_t code, std::string_view reason) = 0;

 protected:
  ~FrameSink() = default;
};

struct DecodeResult {
  std::uint16_t close_code = 0;  ///< 0: fine; else 1002, 1007 or 1009: fail the connection with it
  std::string_view reason;       ///< a literal, for the close frame and the log
};

/// Decodes one client's byte stream, cut anywhere. Only a pointer big: memory is held while a frame or a fragmented
/// message is unfinished, and never more than was received of it (doubling apart).
class Decoder {
 public:
  Decoder() noexcept = default;
  ~Decoder();
  Decoder(Decoder&& other) noexcept : partial_(std::exchange(other.partial_, nullptr)) {}
  Decoder& operator=(Decoder&& other) noexcept {
    std::swap(partial_, other.partial_);
    return *this;
  }

  /// Decodes all of `bytes`, unmasking them in place. A fault is reported as soon as the bytes show it. After a fault,
  /// a close frame or a sink's false, everything is ignored. `shard_inflater` may be null if `deflate` is off; the
  /// configuration must stay the same for a connection.
  DecodeResult feed(std::span<char> bytes, const DecoderConfig& config, Inflater* shard_inflater, FrameSink& sink);

  /// True if no frame or message is unfinished (also after the end), so nothing is held.
  [[nodiscard]] bool idle() const;
  /// True after a fault, a close frame or a sink's false.
  [[nodiscard]] bool finished() const;
  /// Heap bytes held for what is unfinished.
  [[nodiscard]] std::size_t buffered_bytes() const;

 private:
  class Run;
  struct Partial;

  void release();

  Partial* partial_ = nullptr;
};

static_assert(sizeof(Decoder) == sizeof(void*), "every idle connection pays for it");

/// True for codes that may stand in a close frame (RFC 6455 7.4 and the IANA registry).
[[nodiscard]] bool is_sendable_close_code(std::uint16_t code);

inline constexpr std::size_t kMaxServerHeaderBytes = 10;

/// Writes the header of an unmasked FIN frame to `out` (room for kMaxServerHeaderBytes); returns its size.
std::size_t write_frame_header(char* out, Opcode opcode, std::uint64_t payload_bytes, bool rsv1 = false);
void append_frame(std::string& out, Opcode opcode, std::string_view payload, bool rsv1 = false);

/// The payload of a close frame; `reason` (UTF-8) is cut to the 123 bytes that fit, at a character's edge. Empty for
/// kCloseNoStatus.
[[nodiscard]] std::string close_payload(std::uint16_t code, std::string_view reason);

/// XORs `bytes` with the key, as if they began `offset` bytes into the payload.
void apply_mask(std::span<char> bytes, std::array<unsigned char, 4> key, std::size_t offset = 0);

/// A client's frame, for tests and the benchmark. The key's highest byte goes first.
void append_masked_frame(std::string& out, Opcode opcode, std::string_view payload, std::uint32_t key,
                         bool rsv1 = false, bool fin = true);

}  // namespace hubbub::protocol
