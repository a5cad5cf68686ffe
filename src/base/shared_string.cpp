#include "hubbub/base/shared_string.hpp"

#include <cstring>
#include <new>

#include "hubbub/base/random.hpp"

namespace hubbub::base {

namespace {
__extension__ using Wide = unsigned __int128;  // -Wpedantic
}

std::uint32_t SharedString::short_hash(std::string_view text) noexcept {
  // A keyed multiply-rotate hash (wyhash's construction): ids come from clients, so a seed drawn at start keeps them
  // from choosing ids that fall into one bucket.
  static const std::uint64_t seed = random_u64();
  std::uint64_t h = seed ^ (text.size() * 0x9e3779b97f4a7c15ULL);
  const char* p = text.data();
  std::size_t n = text.size();
  const auto mix = [&h](std::uint64_t word) {
    const Wide product = static_cast<Wide>(h ^ word ^ 0xa0761d6478bd642fULL) * 0xe7037ed1a0b428dbULL;
    h = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    mix(word);
  }
  std::uint64_t tail = 0;
  if (n != 0) std::memcpy(&tail, p, n);
  mix(tail + n);
  mix(seed);
  return static_cast<std::uint32_t>(h ^ h >> 32);
}

SharedString::SharedString(std::string_view text) {
  void* memory = ::operator new(sizeof(Rep) + text.size());
  rep_ = new (memory) Rep{{1}, static_cast<std::uint32_t>(text.size()), short_hash(text)};
  if (!text.empty()) std::memcpy(rep_->text(), text.data(), text.size());
}

void SharedString::release() noexcept {
  if (rep_ != nullptr && rep_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    rep_->~Rep();
    ::operator delete(rep_);
  }
}

}  // namespace hubbub::base
