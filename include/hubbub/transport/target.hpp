#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace hubbub::transport {

/// A request target taken apart (RFC 9112 3.2.1 origin-form, or absolute-form). Views into the target.
struct Target {
  std::string_view path;   ///< with its leading slash, still percent-encoded
  std::string_view query;  ///< without the question mark
};

/// nullopt for anything that is neither origin-form nor absolute-form http.
std::optional<Target> parse_target(std::string_view target);

/// Percent-decoding (RFC 3986 2.1); a plus stays a plus. nullopt for a broken escape.
std::optional<std::string> percent_decode(std::string_view text);

/// The first value of `key` in a query string, decoded; a plus is a space there only if written %20. nullopt when it is
/// missing or its escapes are broken.
std::optional<std::string> query_value(std::string_view query, std::string_view key);

/// Calls `visit` with every value of `key`, decoded; with nullopt where its escapes are broken.
void for_each_query_value(std::string_view query, std::string_view key,
                          const std::function<void(const std::optional<std::string>&)>& visit);

/// Whether a comma-separated header value holds `token`, ignoring case (RFC 9110 5.6.1).
bool has_token(std::string_view header, std::string_view token);
/// The same by case: where a name must be echoed as it was offered.
bool has_exact_token(std::string_view header, std::string_view token);

}  // namespace hubbub::transport
