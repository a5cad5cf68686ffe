#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/options.hpp"

namespace hubbub::broker::redis {

/// Consistent hashing: which server of a list a route belongs to. Depends on the servers' names alone, not on their
/// order, so all nodes agree; a server more or less moves the routes of one server, and no others.
class Ring {
 public:
  explicit Ring(const std::vector<Endpoint>& servers);
  /// The index in the list.
  std::size_t server_of(std::string_view route) const;

 private:
  std::vector<std::pair<std::uint64_t, std::uint32_t>> points_;  // sorted
};

}  // namespace hubbub::broker::redis
