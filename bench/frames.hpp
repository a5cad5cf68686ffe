#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace hubbub::bench {

// The client's side of RFC 6455, as little of it as a load generator needs.

inline constexpr unsigned kOpContinuation = 0x0;
inline constexpr unsigned kOpText = 0x1;
inline constexpr unsigned kOpClose = 0x8;
inline constexpr unsigned kOpPing = 0x9;
inline constexpr unsigned kOpPong = 0xA;

struct Frame {
  unsigned opcode;
  bool fin;
  bool compressed;  // RSV1
  const char* data;
  std::size_t size;
};

struct ScanResult {
  std::size_t consumed;  // bytes of whole frames
  std::size_t wanted;    // size of the unfinished frame after them, 0 while its header is unfinished
  bool broken;           // not a server's frame: masked, or with reserved bits
};

// HOT PATH. Calls on_frame(const Frame&) for every whole frame in [data, data + size); on_frame returns false
// to stop after that frame.
template <class OnFrame>
ScanResult scan_frames(const char* data, std::size_t size, OnFrame&& on_frame) {
  std::size_t at = 0;
  while (size - at >= 2) {
    const auto* p = reinterpret_cast<const unsigned char*>(data + at);
    if ((p[0] & 0x30U) != 0 || (p[1] & 0x80U) != 0) return {at, 0, true};
    std::size_t header = 2;
    std::size_t length = p[1];
    if (length == 126) {
      header = 4;
      if (size - at < header) break;
      length = std::size_t{p[2]} << 8U | p[3];
    } else if (length == 127) {
      header = 10;
      if (size - at < header) break;
      length = 0;
      for (unsigned i = 2; i < 10; ++i) length = length << 8U | p[i];
      if (length > (std::size_t{1} << 31U)) return {at, 0, true};
    }
    if (size - at - header < length) return {at, header + length, false};
    const Frame frame{p[0] & 0x0FU, (p[0] & 0x80U) != 0, (p[0] & 0x40U) != 0, data + at + header, length};
    at += header + length;
    if (!on_frame(frame)) break;
  }
  return {at, 0, false};
}

inline void apply_mask(char* data, std::size_t size, std::uint32_t mask) {
  const std::uint64_t wide = std::uint64_t{mask} << 32U | mask;
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + i, 8);
    word ^= wide;
    std::memcpy(data + i, &word, 8);
  }
  for (; i < size; ++i) data[i] = static_cast<char>(data[i] ^ static_cast<char>(mask >> (8U * (i & 3U))));
}

// Appends one masked client frame whose payload is first + second + third.
inline void append_masked(std::string& out, unsigned opcode, std::uint32_t mask, std::string_view first,
                          std::string_view second = {}, std::string_view third = {}) {
  const std::size_t size = first.size() + second.size() + third.size();
  out.push_back(static_cast<char>(0x80U | opcode));
  if (size < 126) {
    out.push_back(static_cast<char>(0x80U | size));
  } else if (size < 65536) {
    out.push_back(static_cast<char>(0x80U | 126U));
    out.push_back(static_cast<char>(size >> 8U));
    out.push_back(static_cast<char>(size & 0xFFU));
  } else {
    out.push_back(static_cast<char>(0x80U | 127U));
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(size >> static_cast<unsigned>(shift)));
  }
  char key[4];
  std::memcpy(key, &mask, 4);  // apply_mask takes the same little-endian view
  out.append(key, 4);
  const std::size_t start = out.size();
  out.append(first).append(second).append(third);
  apply_mask(out.data() + start, size, mask);
}

}  // namespace hubbub::bench
