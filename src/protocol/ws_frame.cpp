#include "hubbub/protocol/ws_frame.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>

#include "hubbub/protocol/utf8.hpp"
#include "hubbub/protocol/ws_deflate.hpp"

namespace hubbub::protocol {
namespace {

constexpr std::size_t kMaxClientHeaderBytes = 14;
constexpr std::size_t kControlMaxBytes = 125;
constexpr unsigned kFin = 0x80;
constexpr unsigned kRsv1 = 0x40;
constexpr unsigned kRsv2And3 = 0x30;
constexpr unsigned kMasked = 0x80;

using MaskKey = std::array<unsigned char, 4>;

constexpr bool is_control(Opcode opcode) { return opcode >= Opcode::kClose; }

constexpr bool is_known(Opcode opcode) {
  return opcode <= Opcode::kBinary || (is_control(opcode) && opcode <= Opcode::kPong);
}

// Incompressible data grows a little when deflated (stored blocks, paddings), so a message may be within the limit
// though its compressed form is past it.
constexpr std::size_t compressed_max_bytes(std::size_t message_max_bytes) {
  return message_max_bytes + message_max_bytes / 16 + 64;
}

std::size_t load_big_endian(const unsigned char* p, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | p[i];
  return value;
}

char* store_big_endian(char* out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) *out++ = static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

char* write_header(char* out, unsigned first, unsigned mask_bit, std::uint64_t payload_bytes) {
  *out++ = static_cast<char>(first);
  if (payload_bytes < 126) {
    *out++ = static_cast<char>(mask_bit | payload_bytes);
    return out;
  }
  const bool fits16 = payload_bytes <= 0xffff;
  *out++ = static_cast<char>(mask_bit | (fits16 ? 126U : 127U));
  return store_big_endian(out, payload_bytes, fits16 ? 2 : 8);
}

unsigned first_byte(Opcode opcode, bool rsv1, bool fin) {
  return static_cast<unsigned>(opcode) | (rsv1 ? kRsv1 : 0) | (fin ? kFin : 0);
}

struct Header {
  bool fin = false;
  bool rsv1 = false;
  Opcode opcode{};
  std::uint64_t payload_bytes = 0;
  MaskKey key{};
  std::size_t size = 0;
};

}  // namespace

struct Decoder::Partial {
  // A fragmented message, or one whose only frame is unfinished.
  std::string message;  // as received: still compressed, if it is
  Utf8Validator utf8;
  bool message_open = false;
  bool compressed = false;
  Opcode message_opcode{};

  // The frame under way.
  bool frame_open = false;
  bool fin = false;
  Opcode opcode{};
  std::uint8_t mask_phase = 0;
  MaskKey key{};
  std::uint64_t missing_bytes = 0;

  std::uint8_t header_bytes = 0;
  std::uint8_t control_bytes = 0;
  std::array<unsigned char, kMaxClientHeaderBytes> header;
  std::array<char, kControlMaxBytes> control;  // may come between the fragments of a message

  // Where a decoder points that is at its end; never dereferenced.
  static Partial* finished_mark() {
    alignas(Partial) static char mark;
    return reinterpret_cast<Partial*>(&mark);
  }
};

// HOT PATH. One call of feed(). Its steps return false when decoding has come to its end.
class Decoder::Run {
 public:
  Run(Decoder& decoder, std::span<char> in, const DecoderConfig& config, Inflater* inflater, FrameSink& sink)
      : decoder_(decoder), in_(in), config_(config), inflater_(inflater), sink_(sink) {}

  DecodeResult all() {
    while (!in_.empty()) {
      const bool go_on = partial() != nullptr && partial()->frame_open ? continue_frame() : start_frame();
      if (!go_on) {
        decoder_.release();
        decoder_.partial_ = Partial::finished_mark();
        break;
      }
    }
    return result_;
  }

 private:
  enum class Parsed { kWhole, kShort, kBad };

  Partial*& partial() { return decoder_.partial_; }
  bool message_open() { return partial() != nullptr && partial()->message_open; }

  Partial& need_partial() {
    if (partial() == nullptr) partial() = new Partial;
    return *partial();
  }

  void release_if_nothing_is_open() {
    if (partial() != nullptr && !partial()->message_open && !partial()->frame_open) decoder_.release();
  }

  bool fail(std::uint16_t code, std::string_view reason) {
    result_ = {code, reason};
    return false;
  }
  Parsed bad(std::string_view reason, std::uint16_t code = kCloseProtocolError) {
    fail(code, reason);
    return Parsed::kBad;
  }

  // Every check is made as soon as its byte is there, so the verdict does not hang on how the stream was cut.
  Parsed parse_header(const unsigned char* p, std::size_t size, Header& header) {
    if (size < 1) return Parsed::kShort;
    header.fin = (p[0] & kFin) != 0;
    header.rsv1 = (p[0] & kRsv1) != 0;
    header.opcode = static_cast<Opcode>(p[0] & 0x0f);
    const bool control = is_control(header.opcode);
    const bool open = message_open();
    if ((p[0] & kRsv2And3) != 0) return bad("reserved bit set");
    if (!is_known(header.opcode)) return bad("reserved opcode");
    if (header.rsv1 && (!config_.deflate || control || open)) return bad("reserved bit set");
    if (control) {
      if (!header.fin) return bad("fragmented control frame");
    } else if ((header.opcode == Opcode::kContinuation) != open) {
      return bad(open ? "message within a fragmented message" : "continuation of no message");
    }

    if (size < 2) return Parsed::kShort;
    if ((p[1] & kMasked) == 0) return bad("unmasked frame");
    header.payload_bytes = p[1] & 0x7f;
    header.size = 2;
    if (control) {
      if (header.payload_bytes > kControlMaxBytes) return bad("control frame too long");
      if (header.opcode == Opcode::kClose && header.payload_bytes == 1) return bad("close code cut off");
    } else {
      if (header.payload_bytes >= 126) {
        const bool is16 = header.payload_bytes == 126;
        header.size += is16 ? 2 : 8;
        if (size < header.size) return Parsed::kShort;
        header.payload_bytes = load_big_endian(p + 2, header.size - 2);
        if (header.payload_bytes < (is16 ? 126U : 0x10000U)) return bad("length not in its shortest form");
        if (header.payload_bytes >> 63 != 0) return bad("length has its top bit set");
      }
      const bool compressed = open ? partial()->compressed : header.rsv1;
      const std::size_t limit =
          compressed ? compressed_max_bytes(config_.message_max_bytes) : config_.message_max_bytes;
      const std::size_t so_far = open ? partial()->message.size() : 0;
      if (header.payload_bytes > limit - so_far) return bad("message too big", kCloseTooBig);
    }

    if (size < header.size + 4) return Parsed::kShort;
    std::memcpy(header.key.data(), p + header.size, 4);
    header.size += 4;
    return Parsed::kWhole;
  }

  bool start_frame() {
    Header header;
    const std::size_t kept = partial() == nullptr ? 0 : partial()->header_bytes;
    const auto* bytes = reinterpret_cast<const unsigned char*>(in_.data());
    std::size_t size = in_.size();
    if (kept != 0) {
      size = std::min(kMaxClientHeaderBytes, kept + in_.size());
      std::memcpy(partial()->header.data() + kept, in_.data(), size - kept);
      bytes = partial()->header.data();
    }
    switch (parse_header(bytes, size, header)) {
      case Parsed::kBad:
        return false;
      case Parsed::kShort:  // then size is below 14, so it is all that we have
        if (kept == 0) std::memcpy(need_partial().header.data(), bytes, size);
        partial()->header_bytes = static_cast<std::uint8_t>(size);
        in_ = {};
        return true;
      case Parsed::kWhole:
        break;
    }
    if (kept != 0) partial()->header_bytes = 0;
    in_ = in_.subspan(header.size - kept);
    if (header.payload_bytes <= in_.size()) {
      const auto payload = in_.first(header.payload_bytes);
      in_ = in_.subspan(payload.size());
      apply_mask(payload, header.key);
      return whole_frame(header, {payload.data(), payload.size()});
    }
    Partial& partial = need_partial();
    if (!is_control(header.opcode)) open_message(header);
    partial.frame_open = true;
    partial.fin = header.fin;
    partial.opcode = header.opcode;
    partial.key = header.key;
    partial.mask_phase = 0;
    partial.missing_bytes = header.payload_bytes;
    partial.control_bytes = 0;
    return true;
  }

  bool whole_frame(const Header& header, std::string_view payload) {
    if (is_control(header.opcode)) return deliver_control(header.opcode, payload);
    if (header.fin && !message_open()) {
      if (partial() != nullptr) decoder_.release();  // it only held the header
      return deliver_message(header.opcode, header.rsv1, payload);
    }
    open_message(header);
    return append(payload) && (!header.fin || finish_message());
  }

  bool continue_frame() {
    Partial& partial = *decoder_.partial_;
    const auto piece = in_.first(std::min<std::uint64_t>(partial.missing_bytes, in_.size()));
    in_ = in_.subspan(piece.size());
    apply_mask(piece, partial.key, partial.mask_phase);
    partial.mask_phase = static_cast<std::uint8_t>((partial.mask_phase + piece.size()) & 3);
    partial.missing_bytes -= piece.size();
    partial.frame_open = partial.missing_bytes != 0;
    if (is_control(partial.opcode)) {
      std::memcpy(partial.control.data() + partial.control_bytes, piece.data(), piece.size());
      partial.control_bytes = static_cast<std::uint8_t>(partial.control_bytes + piece.size());
      return partial.frame_open || deliver_control(partial.opcode, {partial.control.data(), partial.control_bytes});
    }
    return append({piece.data(), piece.size()}) && (partial.frame_open || !partial.fin || finish_message());
  }

  void open_message(const Header& header) {
    Partial& partial = need_partial();
    if (partial.message_open) return;
    partial.message_open = true;
    partial.message_opcode = header.opcode;
    partial.compressed = header.rsv1;
  }

  bool append(std::string_view payload) {
    Partial& partial = *decoder_.partial_;
    if (partial.message_opcode == Opcode::kText && !partial.compressed && !partial.utf8.feed(payload)) {
      return invalid_utf8();
    }
    partial.message.append(payload);
    return true;
  }

  bool finish_message() {
    const std::unique_ptr<Partial> done(std::exchange(partial(), nullptr));
    if (done->compressed) return deliver_message(done->message_opcode, true, done->message);
    if (!done->utf8.complete()) return invalid_utf8();
    return sink_.on_message(done->message_opcode, done->message);
  }

  bool deliver_message(Opcode opcode, bool compressed, std::string_view payload) {
    if (compressed) {
      std::string& inflated = inflater_->scratch();
      switch (inflater_->inflate(payload, inflated, config_.message_max_bytes)) {
        case Inflater::Result::kOk:
          break;
        case Inflater::Result::kTooLarge:
          return fail(kCloseTooBig, "message too big");
        case Inflater::Result::kCorrupt:
          return fail(kCloseInvalidPayload, "corrupt compressed data");
      }
      payload = inflated;
    }
    if (opcode == Opcode::kText && !is_valid_utf8(payload)) return invalid_utf8();
    return sink_.on_message(opcode, payload);
  }

  bool deliver_control(Opcode opcode, std::string_view payload) {
    bool go_on = false;
    if (opcode == Opcode::kClose) {
      go_on = deliver_close(payload);
    } else {
      go_on = opcode == Opcode::kPing ? sink_.on_ping(payload) : sink_.on_pong(payload);
    }
    if (go_on) release_if_nothing_is_open();
    return go_on;
  }

  bool deliver_close(std::string_view payload) {
    std::uint16_t code = kCloseNoStatus;
    if (!payload.empty()) {
      code = static_cast<std::uint16_t>(load_big_endian(reinterpret_cast<const unsigned char*>(payload.data()), 2));
      if (!is_sendable_close_code(code)) return fail(kCloseProtocolError, "invalid close code");
      payload.remove_prefix(2);
      if (!is_valid_utf8(payload)) return invalid_utf8();
    }
    sink_.on_close(code, payload);
    return false;
  }

  bool invalid_utf8() { return fail(kCloseInvalidPayload, "invalid UTF-8"); }

  Decoder& decoder_;
  std::span<char> in_;
  const DecoderConfig& config_;
  Inflater* inflater_;
  FrameSink& sink_;
  DecodeResult result_;
};

Decoder::~Decoder() {
  if (partial_ != nullptr) release();
}

void Decoder::release() {
  if (!finished()) delete partial_;
  partial_ = nullptr;
}

DecodeResult Decoder::feed(std::span<char> bytes, const DecoderConfig& config, Inflater* shard_inflater,
                           FrameSink& sink) {
  assert(!config.deflate || shard_inflater != nullptr);
  if (finished()) return {};
  return Run(*this, bytes, config, shard_inflater, sink).all();
}

bool Decoder::idle() const { return partial_ == nullptr || finished(); }

bool Decoder::finished() const { return partial_ == Partial::finished_mark(); }

std::size_t Decoder::buffered_bytes() const { return idle() ? 0 : sizeof(Partial) + partial_->message.capacity(); }

bool is_sendable_close_code(std::uint16_t code) {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

std::size_t write_frame_header(char* out, Opcode opcode, std::uint64_t payload_bytes, bool rsv1) {
  return static_cast<std::size_t>(write_header(out, first_byte(opcode, rsv1, true), 0, payload_bytes) - out);
}

void append_frame(std::string& out, Opcode opcode, std::string_view payload, bool rsv1) {
  char header[kMaxServerHeaderBytes];
  out.append(header, write_frame_header(header, opcode, payload.size(), rsv1));
  out.append(payload);
}

std::string close_payload(std::uint16_t code, std::string_view reason) {
  std::string payload;
  if (code == kCloseNoStatus) return payload;
  constexpr std::size_t kReasonMaxBytes = kControlMaxBytes - 2;
  if (reason.size() > kReasonMaxBytes) {
    std::size_t end = kReasonMaxBytes;
    while (end > 0 && (reason[end] & 0xc0) == 0x80) --end;
    reason = reason.substr(0, end);
  }
  payload.push_back(static_cast<char>(code >> 8));
  payload.push_back(static_cast<char>(code & 0xff));
  payload.append(reason);
  return payload;
}

void apply_mask(std::span<char> bytes, MaskKey key, std::size_t offset) {
  std::rotate(key.begin(), key.begin() + (offset & 3), key.end());
  std::uint32_t word;
  std::memcpy(&word, key.data(), sizeof(word));
  const std::uint64_t mask = std::uint64_t{word} << 32 | word;
  char* p = bytes.data();
  std::size_t left = bytes.size();
  const auto xor64 = [mask](char* at) {
    std::uint64_t block;
    std::memcpy(&block, at, sizeof(block));
    block ^= mask;
    std::memcpy(at, &block, sizeof(block));
  };
  for (; left >= 32; left -= 32, p += 32) {
    for (int i = 0; i < 32; i += 8) xor64(p + i);
  }
  for (; left >= 8; left -= 8, p += 8) xor64(p);
  for (std::size_t i = 0; i < left; ++i) p[i] = static_cast<char>(p[i] ^ key[i & 3]);
}

void append_masked_frame(std::string& out, Opcode opcode, std::string_view payload, std::uint32_t key, bool rsv1,
                         bool fin) {
  char header[kMaxClientHeaderBytes];
  char* end = write_header(header, first_byte(opcode, rsv1, fin), kMasked, payload.size());
  char* const key_at = end;
  end = store_big_endian(end, key, 4);
  MaskKey key_bytes;
  std::memcpy(key_bytes.data(), key_at, 4);
  out.append(header, static_cast<std::size_t>(end - header));
  out.append(payload);
  apply_mask(std::span(out).last(payload.size()), key_bytes);
}

}  // namespace hubbub::protocol
