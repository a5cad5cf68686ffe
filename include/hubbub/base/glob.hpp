#pragma once

#include <string_view>

namespace hubbub::base {

/// True if the pattern fits the whole text: `*` is any run of bytes, `?` one UTF-8 character, a backslash takes the
/// meaning from what follows, all else stands for itself. Every pattern is one; a backslash at the end stands for
/// itself.
///
/// No recursion and no memory. For a given pattern the time is linear in the text, at worst the product of both sizes.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text) noexcept;

}  // namespace hubbub::base
