#pragma once

#include <string_view>

namespace hubbub::base {

/// True if the pattern fits the whole text: `*` is any run of bytes, `?` one UTF-8 character, a backslash takes the
/// meaning from what follows, all else stands for itself. Every pattern is one; a backslash at the end stands for
/// itself.
///
/// Needs no memory, and time that grows as the text does; for what changes with the pattern, at most as their product.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text) noexcept;

}  // namespace hubbub::base
