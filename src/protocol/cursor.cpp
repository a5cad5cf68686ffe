#include "hubbub/protocol/cursor.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>

#include "hubbub/protocol/identifier.hpp"

namespace hubbub::protocol {
namespace {

constexpr char kVersion = 1;
constexpr char kHasSession = 1;
constexpr char kHasAnswer = 2;
constexpr size_t kCheckBytes = 4;
constexpr size_t kHeadBytes = 1 + kCheckBytes + 1;  // version, check, flags

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr auto kValues = [] {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  return values;
}();

void append_base64url(std::string& out, std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t start = out.size();
  out.resize(start + (bytes.size() * 8 + 5) / 6);
  char* to = out.data() + start;
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    *to++ = kAlphabet[group >> 18];
    *to++ = kAlphabet[group >> 12 & 63];
    *to++ = kAlphabet[group >> 6 & 63];
    *to++ = kAlphabet[group & 63];
  }
  if (i == bytes.size()) return;
  const bool two = i + 2 == bytes.size();
  const uint32_t group = at(i) << 16 | (two ? at(i + 1) << 8 : 0);
  *to++ = kAlphabet[group >> 18];
  *to++ = kAlphabet[group >> 12 & 63];
  if (two) *to++ = kAlphabet[group >> 6 & 63];
}

std::optional<std::string> decode_base64url(std::string_view text) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t group = 0;
  unsigned bits = 0;
  for (const char c : text) {
    const int value = kValues[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    group = group << 6 | static_cast<uint32_t>(value);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(group >> bits & 0xff);
  }
  // One cursor, one spelling: bits that say nothing must be zero.
  if ((group & ((1U << bits) - 1)) != 0) return std::nullopt;
  return out;
}

void append_fixed64(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

uint32_t check_of(std::string_view user_id, std::string_view rest) {
  const auto add = [](uLong crc, std::string_view part) {
    return crc32_z(crc, reinterpret_cast<const Bytef*>(part.data()), part.size());
  };
  uLong crc = add(crc32_z(0, nullptr, 0), user_id);
  crc = add(crc, std::string_view("\0", 1));
  return static_cast<uint32_t>(add(crc, rest));
}

/// Reads what append_* wrote; every length is checked before it is used.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }

  bool fixed(size_t count, uint64_t& out) {
    if (bytes_.size() < count) return false;
    out = 0;
    for (size_t i = 0; i < count; ++i) out = out << 8 | static_cast<unsigned char>(bytes_[i]);
    bytes_.remove_prefix(count);
    return true;
  }
  bool varint(uint64_t& out) {
    out = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      if (shift == 63 && byte > 1) return false;
      out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return byte != 0 || shift == 0;
    }
    return false;
  }
  bool text(uint64_t count, std::string& out) {
    if (bytes_.size() < count) return false;
    out.assign(bytes_.substr(0, static_cast<size_t>(count)));
    bytes_.remove_prefix(static_cast<size_t>(count));
    return true;
  }

 private:
  std::string_view bytes_;
};

}  // namespace

const CursorEntry* Cursor::find(std::string_view room_id) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.room_id == room_id; });
  return found == entries.end() ? nullptr : &*found;
}

std::variant<Cursor, CursorFault> parse_cursor(std::string_view text, std::string_view user_id) {
  const std::optional<std::string> bytes = decode_base64url(text);
  if (!bytes || bytes->size() < kHeadBytes || bytes->front() != kVersion) return CursorFault::kMalformed;
  Reader reader(std::string_view(*bytes).substr(1));
  uint64_t check = 0;
  uint64_t flags = 0;
  reader.fixed(kCheckBytes, check);
  if (check != check_of(user_id, std::string_view(*bytes).substr(1 + kCheckBytes))) return CursorFault::kMalformed;
  reader.fixed(1, flags);
  if (flags > static_cast<uint64_t>(kHasSession | kHasAnswer)) return CursorFault::kMalformed;
  Cursor cursor;
  if ((flags & kHasSession) != 0 && (!reader.fixed(8, cursor.session) || !reader.fixed(8, cursor.key_tag))) {
    return CursorFault::kMalformed;
  }
  if ((flags & kHasAnswer) != 0 && (!reader.varint(cursor.answer) || cursor.answer == 0))
    return CursorFault::kMalformed;
  while (!reader.empty()) {
    if (cursor.entries.size() == kCursorEntriesMax) return CursorFault::kTooManyRooms;
    CursorEntry& entry = cursor.entries.emplace_back();
    uint64_t size = 0;
    if (!reader.varint(size) || size > kIdentifierMaxBytes || !reader.text(size, entry.room_id) ||
        !reader.fixed(8, entry.epoch) || !reader.varint(entry.seq)) {
      return CursorFault::kMalformed;
    }
    if (size != 0 && !is_valid_identifier(entry.room_id)) return CursorFault::kMalformed;
  }
  // A stream twice could say two things at once.
  std::vector<std::string_view> names;
  names.reserve(cursor.entries.size());
  for (const CursorEntry& entry : cursor.entries) names.push_back(entry.room_id);
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) return CursorFault::kMalformed;
  return cursor;
}

CursorWriter::CursorWriter(std::string& scratch, uint64_t session, uint64_t key_tag, uint64_t answer)
    : bytes_(scratch) {
  bytes_.assign(1, static_cast<char>((session == 0 ? 0 : kHasSession) | (answer == 0 ? 0 : kHasAnswer)));
  if (session != 0) {
    append_fixed64(bytes_, session);
    append_fixed64(bytes_, key_tag);
  }
  if (answer != 0) append_varint(bytes_, answer);
}

void CursorWriter::add(std::string_view room_id, uint64_t epoch, uint64_t seq) {
  append_varint(bytes_, room_id.size());
  bytes_ += room_id;
  append_fixed64(bytes_, epoch);
  append_varint(bytes_, seq);
}

void CursorWriter::finish(std::string& out, std::string_view user_id) {
  std::array<char, 1 + kCheckBytes> head{kVersion};
  const uint32_t check = check_of(user_id, bytes_);
  for (size_t i = 0; i < kCheckBytes; ++i) head[1 + i] = static_cast<char>(check >> (24 - 8 * i) & 0xff);
  bytes_.insert(0, head.data(), head.size());
  append_base64url(out, bytes_);
}

}  // namespace hubbub::protocol
