#pragma once

#include <algorithm>
#include <string_view>

namespace hubbub::base {

/// Whether two texts are equal but for the case of A to Z; what the names and tokens of HTTP are compared by.
inline bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace hubbub::base
