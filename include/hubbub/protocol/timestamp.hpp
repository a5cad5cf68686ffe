#pragma once

#include <cstdint>
#include <string>

namespace hubbub::protocol {

/// Appends `2026-11-24T19:40:04.123Z` (always 24 characters; years beyond 0000-9999 are clamped).
void append_iso8601_ms(std::string& out, int64_t unix_ms);

}  // namespace hubbub::protocol
