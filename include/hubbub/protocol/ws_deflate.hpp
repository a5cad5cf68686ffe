#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct z_stream_s;

namespace hubbub::protocol {

/// permessage-deflate (RFC 7692) without context takeover, so that neither side keeps memory for a connection: one
/// Inflater and one Deflater serve a whole shard. Their memory is allocated once; they are not thread-safe.

class Inflater {
 public:
  enum class Result { kOk, kTooLarge, kCorrupt };

  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Appends the inflated payload of one message (all fragments joined, without the 00 00 ff ff tail) to `out`. Stops
  /// with kTooLarge as soon as `max_bytes` would be passed, so a bomb costs no more than the limit. On anything but
  /// kOk what was appended is of no use.
  [[nodiscard]] Result inflate(std::string_view in, std::string& out, std::size_t max_bytes);

  /// An empty string whose capacity is reused from message to message; valid until the next call.
  std::string& scratch();

 private:
  std::unique_ptr<z_stream_s> stream_;
  std::unique_ptr<char[]> chunk_;
  std::string scratch_;
};

class Deflater {
 public:
  /// `level` 1 (fast) to 9 (small).
  explicit Deflater(int level);
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  /// Appends one message's payload, ready for a frame with RSV1.
  void deflate(std::string_view in, std::string& out);

 private:
  std::unique_ptr<z_stream_s> stream_;
  std::unique_ptr<char[]> chunk_;
};

}  // namespace hubbub::protocol
