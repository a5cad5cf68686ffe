#include "hubbub/protocol/identifier.hpp"

#include "hubbub/protocol/utf8.hpp"

namespace hubbub::protocol {

// HOT PATH
bool is_valid_identifier(std::string_view text) {
  if (text.empty() || text.size() > kIdentifierMaxBytes) return false;
  bool ascii = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return false;
    if (byte < 0x80) continue;
    ascii = false;
    // U+0080-9F are C2 80 to C2 9F; a C2 that is not a lead byte is refused below anyway.
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) return false;
  }
  return ascii || is_valid_utf8(text);
}

}  // namespace hubbub::protocol
