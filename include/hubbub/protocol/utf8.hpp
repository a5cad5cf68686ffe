#pragma once

#include <cstdint>
#include <string_view>

namespace hubbub::protocol {

/// True if `text` is whole, well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
[[nodiscard]] bool is_valid_utf8(std::string_view text);

/// Checks a text that comes in pieces. A wrong byte is refused when it arrives, not when its character would have
/// ended: after a successful feed() the text so far can still be continued to valid UTF-8.
class Utf8Validator {
 public:
  /// False if the text can't become valid any more; it stays false until reset().
  [[nodiscard]] bool feed(std::string_view piece);
  /// True if the text so far does not end within a character.
  [[nodiscard]] bool complete() const { return needed_ == 0; }
  void reset() { *this = {}; }

 private:
  bool fail();

  std::uint8_t needed_ = 0;  // continuation bytes that the open character still wants; 0xff: failed
  std::uint8_t low_ = 0x80;  // range of the next one: narrower than 80..BF after E0, ED, F0 and F4
  std::uint8_t high_ = 0xbf;
};

}  // namespace hubbub::protocol
