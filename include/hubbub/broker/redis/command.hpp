#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hubbub::broker::redis {

/// A Lua script and its SHA-1, by which EVALSHA names it.
struct Script {
  std::string name;  ///< for logs: the file's name
  std::string source;
  std::string sha1;  ///< 40 hex digits
};
Script make_script(std::string_view name, std::string_view source);

/// One command as Redis reads it (RESP arrays of bulk strings). The number of arguments is said first, and each is
/// added once; arguments are opaque bytes.
class Command {
 public:
  /// `arguments` counts the command's name too.
  explicit Command(std::size_t arguments);
  /// EVALSHA of `script` with `keys` keys; then add() the keys and `values` other arguments.
  static Command eval(const Script& script, std::size_t keys, std::size_t values);

  Command& add(std::string_view argument);
  Command& add(std::int64_t argument);
  Command& add(std::uint64_t argument);

  const std::string& bytes() const { return bytes_; }
  std::string take() && { return std::move(bytes_); }

 private:
  std::string bytes_;
};

}  // namespace hubbub::broker::redis
