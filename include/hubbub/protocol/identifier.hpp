#pragma once

#include <cstddef>
#include <string_view>

namespace hubbub::protocol {

inline constexpr size_t kIdentifierMaxBytes = 256;

/// User, room and session ids: 1 to 256 bytes of UTF-8 without control characters (U+0000-1F, U+007F-9F). Anything
/// else goes, a `:` or a space or a `/` too: ids are opaque.
[[nodiscard]] bool is_valid_identifier(std::string_view text);

}  // namespace hubbub::protocol
