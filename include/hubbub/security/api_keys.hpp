#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace hubbub::security {

/// The keys by which backends show who they are. Immutable. [any thread]
class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  bool empty() const { return digests_.empty(); }
  /// Takes as long for a wrong key as for a right one, whatever they have in common.
  bool accepts(std::string_view key) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest_of(std::string_view key);

  std::vector<Digest> digests_;
};

}  // namespace hubbub::security
