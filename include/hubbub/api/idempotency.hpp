#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/transport/http.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::api {

/// The answers to requests that named themselves by an `Idempotency-Key`. One table a shard; a request goes to the
/// shard that its key hashes to. [shard]
class IdempotencyTable {
 public:
  IdempotencyTable(std::size_t max_bytes, std::int64_t window_ms) : max_bytes_(max_bytes), window_ms_(window_ms) {}

  struct Entry {
    std::string key;
    bool done = false;
    std::int64_t done_ms = 0;
    transport::HttpResponse response;                  ///< once done
    std::vector<transport::DeferredAnswer> waiting{};  ///< until then: who asked the same meanwhile
  };

  /// Null when the key is not known, or not any more.
  Entry* find(std::string_view key, std::int64_t now_ms);
  /// A request that is under way. It stays until finish().
  Entry& begin(std::string key);
  /// Keeps its answer, unless it is a failure of ours that another try may get over. The entry may be gone then.
  void finish(Entry& entry, const transport::HttpResponse& response, std::int64_t now_ms);

  std::size_t bytes() const { return bytes_; }

 private:
  using Entries = std::list<Entry>;
  static std::size_t cost(const Entry& entry);
  void forget(Entries& in, Entries::iterator entry);

  const std::size_t max_bytes_;
  const std::int64_t window_ms_;
  Entries running_;
  Entries done_;  // oldest first
  boost::unordered_flat_map<std::string_view, Entries::iterator> index_;
  std::size_t bytes_ = 0;  // of those that are done
};

}  // namespace hubbub::api
