#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/broker/node_bus.hpp"

namespace hubbub::broker::redis {

/// What a process knows of itself and of the other nodes; shared by its shards, kept up to date by shard 0.
///
/// A node is named by its tag as long as it runs. What it says of its members and users it says under a lease, whose
/// name is the tag and a number: a lease that has run out is never renewed, because others may be taking back what was
/// said under it; the node goes on under the next one and says everything again.
class Node {
 public:
  struct View {
    std::string lease;               ///< of this node
    std::uint64_t forgotten = 0;     ///< how often what it said was lost
    std::vector<std::string> alive;  ///< leases of all nodes that run
    std::vector<std::string> over;   ///< leases that have run out and have not been taken back yet
  };

  Node();
  NodeTag tag() const { return tag_; }
  std::string tag_text() const;

  View view() const;                // [any thread]
  std::string lease() const;        // [any thread]
  std::uint64_t forgotten() const;  // [any thread]

  // [shard 0]
  void set_leases(std::vector<std::string> alive, std::vector<std::string> over);
  void begin_next_lease();

  /// 0 when it is none.
  static NodeTag tag_of(std::string_view lease);

 private:
  const NodeTag tag_;
  mutable std::mutex mutex_;
  std::uint64_t leases_ = 1;
  View view_;
};

}  // namespace hubbub::broker::redis
