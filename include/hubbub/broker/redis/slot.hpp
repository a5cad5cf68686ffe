#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hubbub::broker::redis {

inline constexpr unsigned kSlots = 16'384;

/// CRC-16/XMODEM, by which the Cluster specification spreads keys.
std::uint16_t crc16(std::string_view bytes);
/// The Cluster's slot of a key or channel: of what stands between the first `{` and the next `}` if that is not empty,
/// else of all of it.
unsigned slot_of(std::string_view name);
/// The smallest number whose decimal text has the slot: as a hash tag it puts a key into that slot whatever else is in
/// the key. Part of the names that are kept in Redis, so it must never change.
std::string tag_of(unsigned slot);

}  // namespace hubbub::broker::redis
