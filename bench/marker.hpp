#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hubbub::bench {

// Every message's content is a marker, `hb:<number, 16 hex>:<due or send time in ns, 16 hex>:` and padding. The upper
// 32 bits of the number name the run, so that two generators in one room do not take each other's messages for theirs.
inline constexpr std::size_t kMarkerSize = 3 + 16 + 1 + 16 + 1;

inline void write_hex16(char* out, std::uint64_t value) {
  for (int i = 15; i >= 0; --i, value >>= 4U) out[i] = "0123456789abcdef"[value & 15U];
}

inline void write_marker(char* out, std::uint64_t number, std::uint64_t time_ns) {
  std::memcpy(out, "hb:", 3);
  write_hex16(out + 3, number);
  out[19] = ':';
  write_hex16(out + 20, time_ns);
  out[36] = ':';
}

// HOT PATH. The value of eight lower-case hex digits, all at once. Not checked: the caller compares the whole marker
// with the one it sent.
inline std::uint32_t hex8_value(const char* text) {
  std::uint64_t x;
  std::memcpy(&x, text, 8);
  x = (x & 0x0F0F0F0F0F0F0F0FU) + 9U * ((x >> 6U) & 0x0101010101010101U);
  x = __builtin_bswap64(x);  // first digit to the top byte
  x = (x | x >> 4U) & 0x00FF00FF00FF00FFU;
  x = (x | x >> 8U) & 0x0000FFFF0000FFFFU;
  return static_cast<std::uint32_t>(x | x >> 16U);
}

// The low 32 bits of the number in the marker at `marker`: the message's place in the run.
inline std::uint32_t marker_index(const char* marker) { return hex8_value(marker + 11); }

}  // namespace hubbub::bench
