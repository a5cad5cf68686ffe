#include "hubbub/security/api_keys.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace hubbub::security {

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) digests_.push_back(digest_of(key));
}

ApiKeys::Digest ApiKeys::digest_of(std::string_view key) {
  Digest digest{};
  EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return digest;
}

bool ApiKeys::accepts(std::string_view key) const {
  const Digest digest = digest_of(key);
  bool found = false;
  for (const Digest& known : digests_) found |= CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0;
  return found;
}

}  // namespace hubbub::security
