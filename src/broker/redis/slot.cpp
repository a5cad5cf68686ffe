#include "hubbub/broker/redis/slot.hpp"

#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <vector>

namespace hubbub::broker::redis {

namespace {

constexpr std::array<std::uint16_t, 256> kCrcTable = [] {
  std::array<std::uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned crc = byte << 8U;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000U) != 0 ? (crc << 1U) ^ 0x1021U : crc << 1U;
    table[byte] = static_cast<std::uint16_t>(crc);
  }
  return table;
}();

struct Decimal {
  char digits[16];
  std::size_t size;
  explicit Decimal(std::uint32_t number)
      : size(static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits)) {}
  std::string_view view() const { return {digits, size}; }
};

std::vector<std::uint32_t> make_tags() {
  constexpr auto kNone = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> tags(kSlots, kNone);
  unsigned missing = kSlots;
  for (std::uint32_t number = 0; missing != 0; ++number) {
    std::uint32_t& tag = tags[crc16(Decimal(number).view()) % kSlots];
    if (tag != kNone) continue;
    tag = number;
    --missing;
  }
  return tags;
}

}  // namespace

std::uint16_t crc16(std::string_view bytes) {
  std::uint16_t crc = 0;
  for (const char byte : bytes) {
    crc = static_cast<std::uint16_t>((crc << 8U) ^ kCrcTable[((crc >> 8U) ^ static_cast<unsigned char>(byte)) & 0xFFU]);
  }
  return crc;
}

unsigned slot_of(std::string_view name) {
  if (const auto open = name.find('{'); open != std::string_view::npos) {
    const auto close = name.find('}', open + 1);
    if (close != std::string_view::npos && close != open + 1) name = name.substr(open + 1, close - open - 1);
  }
  return crc16(name) % kSlots;
}

std::string tag_of(unsigned slot) {
  static const std::vector<std::uint32_t> tags = make_tags();
  return std::string(Decimal(tags[slot % kSlots]).view());
}

}  // namespace hubbub::broker::redis
