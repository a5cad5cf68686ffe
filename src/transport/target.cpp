#include "hubbub/transport/target.hpp"

#include <algorithm>
#include <utility>

#include "hubbub/base/ascii.hpp"

namespace hubbub::transport {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Whether one of the comma-separated items satisfies `is`.
template <class Is>
bool has_item_that(std::string_view list, Is&& is) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    std::string_view item = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (is(item)) return true;
  }
  return false;
}

}  // namespace

std::optional<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/')) {
    const std::size_t scheme = target.find("://");
    if (scheme == std::string_view::npos || !base::equal_ignoring_case(target.substr(0, scheme), "http"))
      return std::nullopt;
    const std::size_t path = target.find_first_of("/?", scheme + 3);
    if (path == std::string_view::npos) return Target{"/", {}};
    target.remove_prefix(path);
    if (target.starts_with('?')) return Target{"/", target.substr(1)};
  }
  const std::size_t mark = target.find('?');
  if (mark == std::string_view::npos) return Target{target, {}};
  return Target{target.substr(0, mark), target.substr(mark + 1)};
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

void for_each_query_value(std::string_view query, std::string_view key,
                          const std::function<void(const std::optional<std::string>&)>& visit) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == key) visit(percent_decode(pair.substr(std::min(equals + 1, pair.size()))));
  }
}

std::optional<std::string> query_value(std::string_view query, std::string_view key) {
  std::optional<std::string> first;
  bool found = false;
  for_each_query_value(query, key, [&](const std::optional<std::string>& value) {
    if (!std::exchange(found, true)) first = value;
  });
  return first;
}

bool has_token(std::string_view header, std::string_view token) {
  return has_item_that(header, [&](std::string_view item) { return base::equal_ignoring_case(item, token); });
}

bool has_exact_token(std::string_view header, std::string_view token) {
  return has_item_that(header, [&](std::string_view item) { return item == token; });
}

}  // namespace hubbub::transport
