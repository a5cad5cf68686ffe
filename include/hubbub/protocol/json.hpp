#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hubbub::protocol {

/// A strict RFC 8259 scanner: one pass, no allocation, no tree. It finds slices; it never changes them, so what a
/// client sent as `content` can be passed on byte for byte and is still known to be valid.
///
/// Stricter than the grammar where receivers differ, so that nobody can poison a room with text that some client's
/// parser refuses: strings must be valid UTF-8 without lone surrogate escapes, numbers must fit a double's range
/// (section 6 allows that limit), a byte order mark is refused, and at most kJsonDepthMax containers may be open.
inline constexpr size_t kJsonDepthMax = 64;

enum class JsonKind : uint8_t { kObject, kArray, kString, kNumber, kBool, kNull };

struct JsonValue {
  std::string_view raw;  ///< exactly as written, quotes and brackets included, no whitespace around
  JsonKind kind = JsonKind::kNull;
  bool escaped = false;  ///< a string that contains a backslash
};

struct JsonMember {
  std::string_view key;      ///< as written, without the quotes
  bool key_escaped = false;  ///< `key` contains a backslash: decode it before comparing
  JsonValue value;
};

/// Walks the members of one object, or the elements of one array, that is the whole of `text`.
/// `next` returns false at the end and on the first error; `ok` tells which. Slices handed out before an error are
/// each valid by themselves.
class JsonScanner {
 public:
  explicit JsonScanner(std::string_view text) : p_(text.data()), end_(text.data() + text.size()) {}

  bool next_member(JsonMember& out);
  bool next_element(JsonValue& out);
  /// The whole of `text` as one value of any kind.
  bool whole_value(JsonValue& out);
  [[nodiscard]] bool ok() const { return state_ == State::kDone; }

 private:
  enum class State : uint8_t { kStart, kInside, kDone, kFailed };

  bool step(char bracket, char closing);
  bool fail();
  bool finish();
  void skip_space();
  bool scan_string(bool& escaped);
  bool scan_number();
  bool scan_scalar(JsonValue& out);
  bool scan_value(JsonValue& out, size_t depth);
  bool scan_container(size_t depth);

  const char* p_;
  const char* end_;
  State state_ = State::kStart;
};

/// Visits the top-level members of the object `text` in order; false unless `text` is one valid JSON object.
/// The visitor has already seen the members before the error.
template <std::invocable<const JsonMember&> Visitor>
bool scan_object(std::string_view text, Visitor&& visit) {
  JsonScanner scanner(text);
  JsonMember member;
  while (scanner.next_member(member)) visit(member);
  return scanner.ok();
}

/// The same for the elements of the array `text`. A visitor that returns false stops the walk (and the result is
/// false).
template <std::predicate<const JsonValue&> Visitor>
bool scan_array(std::string_view text, Visitor&& visit) {
  JsonScanner scanner(text);
  JsonValue value;
  while (scanner.next_element(value))
    if (!visit(value)) return false;
  return scanner.ok();
}

/// One JSON value of any kind, whitespace around it allowed.
[[nodiscard]] bool is_valid_json(std::string_view text);

/// The text of a JSON string. `raw` must be a string slice from the scanner, quotes included. Without escapes the
/// answer is a view into `raw`; else the text is appended to `scratch` and the answer is a view into that (it is never
/// longer than `raw`: reserve first to keep several such views alive).
[[nodiscard]] std::string_view decode_string(std::string_view raw, std::string& scratch);

/// Appends `utf8` (which must be valid UTF-8) as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view utf8);

void append_uint(std::string& out, uint64_t value);

/// Plain non-negative integers only: no sign, fraction, exponent or leading zero; nullopt too when it does not fit.
[[nodiscard]] std::optional<uint64_t> parse_uint64(std::string_view raw);

}  // namespace hubbub::protocol
