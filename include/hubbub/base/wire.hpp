#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// How nodes write fields for each other: one behind the other, numbers as varints (LEB128), texts with their length
// before them. Read like any other input: each reader checks.
namespace hubbub::base {

class WireWriter {
 public:
  explicit WireWriter(std::string& out) : out_(out) {}
  WireWriter& number(std::uint64_t value);
  WireWriter& text(std::string_view value);

 private:
  std::string& out_;
};

/// Gives nothing more after the first field that is not there; ok() tells.
class WireReader {
 public:
  explicit WireReader(std::string_view in) : in_(in) {}
  std::uint64_t number();
  /// A view of the input.
  std::string_view text();
  bool ok() const { return ok_; }
  /// Nothing is left, or nothing more can be read.
  bool at_end() const { return in_.empty(); }

 private:
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace hubbub::base
