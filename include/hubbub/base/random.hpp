#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace hubbub::base {

/// From the kernel's generator (getrandom); for ids, keys and seeds, not for speed. [any thread]
std::uint64_t random_u64();
std::uint64_t random_nonzero_u64();
void random_bytes(std::span<unsigned char> out);
std::string to_hex(std::span<const unsigned char> bytes);
/// 16 lower-case hex digits.
std::string to_hex(std::uint64_t value);

}  // namespace hubbub::base
