#include "hubbub/base/random.hpp"

#include <sys/random.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>

namespace hubbub::base {

void random_bytes(std::span<unsigned char> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::getrandom(out.data() + done, out.size() - done, 0);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      std::abort();  // no randomness, no unguessable keys: nothing sane can follow
    }
  }
}

std::uint64_t random_u64() {
  unsigned char bytes[8];
  random_bytes(bytes);
  std::uint64_t value = 0;
  for (const unsigned char b : bytes) value = value << 8 | b;
  return value;
}

std::uint64_t random_nonzero_u64() {
  std::uint64_t value = 0;
  while (value == 0) value = random_u64();
  return value;
}

std::string to_hex(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const unsigned char b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::string to_hex(std::uint64_t value) {
  unsigned char bytes[8];
  for (int i = 7; i >= 0; --i, value >>= 8) bytes[i] = static_cast<unsigned char>(value);
  return to_hex(bytes);
}

}  // namespace hubbub::base
