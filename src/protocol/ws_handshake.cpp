#include "hubbub/protocol/ws_handshake.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <new>
#include <utility>

#include "hubbub/base/ascii.hpp"

namespace hubbub::protocol {

using base::equal_ignoring_case;

namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// RFC 7230 3.2.6
bool is_token_char(char c) {
  return is_alphanumeric(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// RFC 6455 9.1: extension-list = 1#( token *( ";" token [ "=" ( token | quoted-string ) ] ) )
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool at_end() {
    skip_space();
    return rest_.empty();
  }

  bool take(char c) {
    skip_space();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Empty if there is none.
  std::string_view token() {
    skip_space();
    const auto* end = std::find_if_not(rest_.begin(), rest_.end(), is_token_char);
    const std::string_view found(rest_.begin(), static_cast<std::size_t>(end - rest_.begin()));
    rest_.remove_prefix(found.size());
    return found;
  }

  // A token, or a quoted string whose content is one, as RFC 6455 9.1 demands. Empty if there is none.
  std::string value() {
    if (!take('"')) return std::string(token());
    std::string content;
    while (!rest_.empty() && rest_.front() != '"') {
      if (rest_.front() == '\\') rest_.remove_prefix(1);
      if (rest_.empty() || !is_token_char(rest_.front())) return {};
      content += rest_.front();
      rest_.remove_prefix(1);
    }
    return take('"') ? content : std::string();
  }

  // From the start of an offer to the comma that ends it, over quoted commas.
  void skip_offer() {
    bool quoted = false;
    while (!rest_.empty() && (quoted || rest_.front() != ',')) {
      if (quoted && rest_.front() == '\\' && rest_.size() > 1)
        rest_.remove_prefix(1);
      else if (rest_.front() == '"')
        quoted = !quoted;
      rest_.remove_prefix(1);
    }
  }

 private:
  void skip_space() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) rest_.remove_prefix(1);
  }

  std::string_view rest_;
};

struct DeflateOffer {
  bool server_no_context_takeover = false;
  bool client_no_context_takeover = false;
  bool client_max_window_bits = false;
  int server_max_window_bits = 0;  // 0: not asked for
};

// RFC 7692 7.1.2: decimal, 8 to 15, no leading zero. 0 if it is not.
int window_bits(std::string_view value) {
  if (value.size() == 1 && (value[0] == '8' || value[0] == '9')) return value[0] - '0';
  if (value.size() == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5') return 10 + value[1] - '0';
  return 0;
}

bool set_once(bool& flag) { return !std::exchange(flag, true); }

// Reads the parameters of one permessage-deflate offer; false if it can't be accepted.
bool read_offer(Scanner& scanner, DeflateOffer& offer) {
  while (scanner.take(';')) {
    const std::string_view name = scanner.token();
    std::optional<std::string> value;
    if (scanner.take('=')) value = scanner.value();
    bool good = false;
    if (equal_ignoring_case(name, "server_no_context_takeover")) {
      good = !value && set_once(offer.server_no_context_takeover);
    } else if (equal_ignoring_case(name, "client_no_context_takeover")) {
      good = !value && set_once(offer.client_no_context_takeover);
    } else if (equal_ignoring_case(name, "client_max_window_bits")) {
      good = (!value || window_bits(*value) != 0) && set_once(offer.client_max_window_bits);
    } else if (equal_ignoring_case(name, "server_max_window_bits")) {
      good = value && offer.server_max_window_bits == 0 && (offer.server_max_window_bits = window_bits(*value)) == 15;
    }
    if (!good) return false;
  }
  return true;
}

}  // namespace

std::string accept_key(std::string_view client_key) {
  std::string text(client_key);
  text += kGuid;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned digest_bytes = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &digest_bytes, EVP_sha1(), nullptr) != 1) {
    throw std::bad_alloc();  // SHA-1 of a short string fails for no other reason
  }
  std::array<unsigned char, 32> encoded;  // 20 bytes make 28 characters and EVP adds a NUL
  const int encoded_bytes = EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(digest_bytes));
  return {reinterpret_cast<const char*>(encoded.data()), static_cast<std::size_t>(encoded_bytes)};
}

bool is_valid_client_key(std::string_view client_key) {
  // 16 bytes: 22 digits, then padding. The last digit's unused bits may be anything, as in most decoders.
  return client_key.size() == 24 && client_key.ends_with("==") &&
         std::all_of(client_key.begin(), client_key.begin() + 22,
                     [](char c) { return is_alphanumeric(c) || c == '+' || c == '/'; });
}

std::optional<std::string> negotiate_deflate(std::string_view sec_websocket_extensions) {
  Scanner scanner(sec_websocket_extensions);
  while (!scanner.at_end()) {
    if (scanner.take(',')) continue;
    const Scanner start = scanner;
    DeflateOffer offer;
    if (equal_ignoring_case(scanner.token(), "permessage-deflate") && read_offer(scanner, offer) &&
        (scanner.at_end() || scanner.take(','))) {
      std::string answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
      // RFC 7692 7.1.2.1: such an offer is accepted by saying so.
      if (offer.server_max_window_bits != 0) answer += "; server_max_window_bits=15";
      return answer;
    }
    scanner = start;  // the fault may lie within quotes
    scanner.skip_offer();
  }
  return std::nullopt;
}

}  // namespace hubbub::protocol
