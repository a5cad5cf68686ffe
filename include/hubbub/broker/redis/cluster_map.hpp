#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/options.hpp"
#include "hubbub/broker/redis/reply.hpp"

namespace hubbub::broker::redis {

struct SlotRange {
  unsigned first = 0, last = 0;  ///< both in it
  Endpoint master;
};
/// The answer to CLUSTER SLOTS. A server that does not know its own address stands for the one that was asked. What
/// makes no sense is left out.
std::vector<SlotRange> parse_cluster_slots(const Reply& reply, const Endpoint& asked);

struct Redirect {
  bool ask = false;  ///< ASK: this once; else MOVED: from now on
  unsigned slot = 0;
  Endpoint target;
};
/// `MOVED 3999 127.0.0.1:6381`; without a host, it is the one that answered.
std::optional<Redirect> parse_redirect(std::string_view error, const Endpoint& asked);

}  // namespace hubbub::broker::redis
