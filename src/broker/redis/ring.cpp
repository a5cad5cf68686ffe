#include "hubbub/broker/redis/ring.hpp"

#include <algorithm>
#include <string>

#include "hubbub/broker/redis/context.hpp"

namespace hubbub::broker::redis {

namespace {

constexpr int kPointsPerServer = 256;

/// FNV-1a, and MurmurHash3's finish, without which the high bits of short texts are nearly alike. Part of where routes
/// are kept, so it must never change.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  hash = (hash ^ (hash >> 33U)) * 0xff51afd7ed558ccdULL;
  hash = (hash ^ (hash >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
  return hash ^ (hash >> 33U);
}

}  // namespace

Ring::Ring(const std::vector<Endpoint>& servers) {
  for (std::uint32_t i = 0; i < servers.size(); ++i) {
    const std::string name = to_text(servers[i]);
    for (int point = 0; point < kPointsPerServer; ++point) {
      points_.emplace_back(hash_of(name + "-" + std::to_string(point)), i);
    }
  }
  std::sort(points_.begin(), points_.end());
}

std::size_t Ring::server_of(std::string_view route) const {
  const auto at = std::lower_bound(points_.begin(), points_.end(), std::pair{hash_of(route), std::uint32_t{0}});
  return (at == points_.end() ? points_.front() : *at).second;
}

}  // namespace hubbub::broker::redis
