#include "hubbub/protocol/utf8.hpp"

#include <cstddef>
#include <cstring>

namespace hubbub::protocol {
namespace {

using Byte = unsigned char;

constexpr std::uint64_t kHighBits = 0x8080808080808080;
constexpr std::uint8_t kFailed = 0xff;

std::uint64_t load64(const Byte* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

struct Lead {
  std::uint8_t needed;  // 0: not a lead byte
  std::uint8_t low, high;
};

// RFC 3629 section 4: the second byte's range is what keeps out overlong forms, surrogates and > U+10FFFF.
constexpr Lead lead_of(Byte c) {
  if (c < 0xc2) return {0, 0, 0};
  if (c < 0xe0) return {1, 0x80, 0xbf};
  if (c == 0xe0) return {2, 0xa0, 0xbf};
  if (c == 0xed) return {2, 0x80, 0x9f};
  if (c < 0xf0) return {2, 0x80, 0xbf};
  if (c == 0xf0) return {3, 0x90, 0xbf};
  if (c < 0xf4) return {3, 0x80, 0xbf};
  if (c == 0xf4) return {3, 0x80, 0x8f};
  return {0, 0, 0};
}

constexpr bool is_continuation(Byte c) { return (c & 0xc0) == 0x80; }

// HOT PATH. Skips whole valid characters; stops at the first one that is wrong or cut off by the end.
const Byte* skip_valid(const Byte* p, const Byte* end) {
  while (p != end) {
    if (*p < 0x80) {
      while (end - p >= 32) {
        if (((load64(p) | load64(p + 8) | load64(p + 16) | load64(p + 24)) & kHighBits) != 0) break;
        p += 32;
      }
      while (end - p >= 8 && (load64(p) & kHighBits) == 0) p += 8;
      while (p != end && *p < 0x80) ++p;
      continue;
    }
    const Lead lead = lead_of(*p);
    if (lead.needed == 0 || end - p <= lead.needed) return p;
    if (p[1] < lead.low || p[1] > lead.high) return p;
    if (lead.needed >= 2 && !is_continuation(p[2])) return p;
    if (lead.needed == 3 && !is_continuation(p[3])) return p;
    p += lead.needed + 1;
  }
  return p;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  const auto* begin = reinterpret_cast<const Byte*>(text.data());
  return skip_valid(begin, begin + text.size()) == begin + text.size();
}

bool Utf8Validator::fail() {
  needed_ = kFailed;
  low_ = 1;
  high_ = 0;
  return false;
}

bool Utf8Validator::feed(std::string_view piece) {
  if (needed_ == kFailed) return false;
  const auto* p = reinterpret_cast<const Byte*>(piece.data());
  const Byte* const end = p + piece.size();
  while (p != end) {
    if (needed_ == 0) {
      p = skip_valid(p, end);
      if (p == end) break;
      const Lead lead = lead_of(*p++);
      if (lead.needed == 0) return fail();
      needed_ = lead.needed;
      low_ = lead.low;
      high_ = lead.high;
      continue;
    }
    const Byte c = *p++;
    if (c < low_ || c > high_) return fail();
    --needed_;
    low_ = 0x80;
    high_ = 0xbf;
  }
  return true;
}

}  // namespace hubbub::protocol
