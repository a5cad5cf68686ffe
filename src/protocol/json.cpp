#include "hubbub/protocol/json.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <charconv>
#include <cstring>

#include "hubbub/protocol/utf8.hpp"

namespace hubbub::protocol {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighBits = 0x8080808080808080;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_special(char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; }

/// A high bit for each byte that is `"`, `\` or a control character. Borrows may set bits above a true one, never
/// below: only the lowest set bit may be believed.
constexpr uint64_t special_bytes(uint64_t word) {
  const uint64_t quote = word ^ (kOnes * '"');
  const uint64_t backslash = word ^ (kOnes * '\\');
  return (((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash) | ((word - kOnes * 0x20) & ~word)) &
         kHighBits;
}

/// HOT PATH. The first byte that a JSON string can't hold as it is, or `end`. Sets bits of `seen` that make
/// `seen & kHighBits` nonzero if a byte on the way was not ASCII (perhaps also if one shortly after was not).
const char* find_special(const char* p, const char* end, uint64_t& seen) {
  if constexpr (std::endian::native == std::endian::little) {
    while (end - p >= 8) {
      uint64_t word;
      std::memcpy(&word, p, sizeof word);
      seen |= word;
      if (const uint64_t hits = special_bytes(word)) return p + std::countr_zero(hits) / 8;
      p += 8;
    }
  }
  while (p != end && !is_special(*p)) seen |= static_cast<unsigned char>(*p++);
  return p;
}

/// Four hex digits at `p`, or -1.
int hex4(const char* p) {
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = p[i];
    const char lower = static_cast<char>(c | 0x20);
    if (is_digit(c))
      value = value * 16 + (c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value * 16 + (lower - 'a' + 10);
    else
      return -1;
  }
  return value;
}

constexpr bool is_high_surrogate(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
constexpr bool is_low_surrogate(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

/// `p` at a backslash: behind the escape, or nullptr.
const char* skip_escape(const char* p, const char* end) {
  if (end - p < 2) return nullptr;
  switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      return p + 2;
    case 'u':
      break;
    default:
      return nullptr;
  }
  if (end - p < 6) return nullptr;
  const int unit = hex4(p + 2);
  if (unit < 0 || is_low_surrogate(unit)) return nullptr;
  if (!is_high_surrogate(unit)) return p + 6;
  if (end - p < 12 || p[6] != '\\' || p[7] != 'u' || !is_low_surrogate(hex4(p + 8))) return nullptr;
  return p + 12;
}

/// Whether a number that follows the grammar rounds to a finite double.
bool is_finite(const char* p, const char* end) {
  if (*p == '-') ++p;
  const char* const start = p;
  // The value is 0.d1d2d3... * 10^magnitude with d1 != 0; only where magnitude is 309 do the digits matter.
  int64_t magnitude = 0;
  bool zero = true;
  if (*p != '0') {
    zero = false;
    while (p != end && is_digit(*p)) ++p, ++magnitude;
  } else {
    ++p;
  }
  if (p != end && *p == '.') {
    ++p;
    for (; p != end && is_digit(*p); ++p) {
      if (zero && *p == '0')
        --magnitude;
      else
        zero = false;
    }
  }
  if (zero) return true;
  if (p != end) {  // an exponent
    ++p;
    const bool negative = *p == '-';
    if (negative || *p == '+') ++p;
    int64_t exponent = 0;
    for (; p != end; ++p) exponent = std::min<int64_t>(exponent * 10 + (*p - '0'), int64_t{1} << 40);
    magnitude += negative ? -exponent : exponent;
  }
  if (magnitude != 309) return magnitude < 309;
  double value;
  return std::from_chars(start, end, value).ec == std::errc{};
}

}  // namespace

bool JsonScanner::fail() {
  state_ = State::kFailed;
  return false;
}

void JsonScanner::skip_space() {
  while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) ++p_;
}

bool JsonScanner::finish() {
  skip_space();
  state_ = p_ == end_ ? State::kDone : State::kFailed;
  return false;
}

/// HOT PATH. At a quote.
bool JsonScanner::scan_string(bool& escaped) {
  const char* const start = ++p_;
  uint64_t seen = 0;
  escaped = false;
  for (;;) {
    p_ = find_special(p_, end_, seen);
    if (p_ == end_) return false;
    if (*p_ == '"') break;
    if (*p_ != '\\') return false;
    p_ = skip_escape(p_, end_);
    if (p_ == nullptr) {
      p_ = end_;
      return false;
    }
    escaped = true;
  }
  const std::string_view inside(start, static_cast<size_t>(p_ - start));
  ++p_;
  return (seen & kHighBits) == 0 || is_valid_utf8(inside);
}

/// At a minus or a digit.
bool JsonScanner::scan_number() {
  const char* const start = p_;
  const auto digits = [this] {
    const char* const first = p_;
    while (p_ != end_ && is_digit(*p_)) ++p_;
    return p_ - first;
  };
  if (*p_ == '-') ++p_;
  bool may_overflow = false;
  if (p_ != end_ && *p_ == '0') {
    ++p_;
  } else {
    const auto count = digits();
    if (count == 0) return false;
    may_overflow = count > 308;
  }
  if (p_ != end_ && *p_ == '.') {
    ++p_;
    if (digits() == 0) return false;
  }
  if (p_ != end_ && (*p_ == 'e' || *p_ == 'E')) {
    ++p_;
    if (p_ != end_ && (*p_ == '+' || *p_ == '-')) ++p_;
    if (digits() == 0) return false;
    may_overflow = true;
  }
  return !may_overflow || is_finite(start, p_);
}

/// Anything but an object or array; `raw` is left to the caller.
bool JsonScanner::scan_scalar(JsonValue& out) {
  const auto word = [this](std::string_view text) {
    if (std::string_view(p_, static_cast<size_t>(end_ - p_)).substr(0, text.size()) != text) return false;
    p_ += text.size();
    return true;
  };
  out.escaped = false;
  switch (*p_) {
    case '"':
      out.kind = JsonKind::kString;
      return scan_string(out.escaped);
    case 't':
      out.kind = JsonKind::kBool;
      return word("true");
    case 'f':
      out.kind = JsonKind::kBool;
      return word("false");
    case 'n':
      out.kind = JsonKind::kNull;
      return word("null");
    default:
      out.kind = JsonKind::kNumber;
      return (*p_ == '-' || is_digit(*p_)) && scan_number();
  }
}

/// HOT PATH. At a bracket, with `depth` containers open around it. A loop with one bit a level, not recursion: the
/// input chooses the depth.
bool JsonScanner::scan_container(size_t depth) {
  uint64_t objects = 0;  // bit 0: whether the innermost container is an object
  size_t open = 0;
  JsonValue ignored;
  const auto key = [this, &objects, &ignored] {
    skip_space();
    if ((objects & 1) == 0) return true;
    if (p_ == end_ || *p_ != '"' || !scan_string(ignored.escaped)) return false;
    skip_space();
    if (p_ == end_ || *p_ != ':') return false;
    ++p_;
    skip_space();
    return true;
  };
  for (;;) {
    if (p_ == end_) return false;
    bool complete = true;
    if (*p_ == '{' || *p_ == '[') {
      if (depth + open == kJsonDepthMax) return false;
      objects = objects << 1 | static_cast<uint64_t>(*p_ == '{');
      ++open;
      ++p_;
      skip_space();
      if (p_ == end_) return false;
      if (*p_ != ((objects & 1) != 0 ? '}' : ']')) {
        if (!key()) return false;
        complete = false;
      }
    } else if (!scan_scalar(ignored)) {
      return false;
    }
    if (!complete) continue;
    for (;;) {
      skip_space();
      if (p_ == end_) return false;
      if (*p_ == ',') {
        ++p_;
        if (!key()) return false;
        break;
      }
      if (*p_ != ((objects & 1) != 0 ? '}' : ']')) return false;
      ++p_;
      objects >>= 1;
      if (--open == 0) return true;
    }
  }
}

bool JsonScanner::scan_value(JsonValue& out, size_t depth) {
  if (p_ == end_) return false;
  const char* const start = p_;
  bool good;
  if (*p_ == '{' || *p_ == '[') {
    out.kind = *p_ == '{' ? JsonKind::kObject : JsonKind::kArray;
    out.escaped = false;
    good = scan_container(depth);
  } else {
    good = scan_scalar(out);
  }
  out.raw = std::string_view(start, static_cast<size_t>(p_ - start));
  return good;
}

/// Before the first or the next item of the outermost container: true when there is one.
bool JsonScanner::step(char bracket, char closing) {
  if (state_ == State::kDone || state_ == State::kFailed) return false;
  const bool first = state_ == State::kStart;
  skip_space();
  if (first) {
    if (p_ == end_ || *p_ != bracket) return fail();
    ++p_;
    state_ = State::kInside;
    skip_space();
  }
  if (p_ == end_) return fail();
  if (*p_ == closing) {
    ++p_;
    return finish();
  }
  if (first) return true;
  if (*p_ != ',') return fail();
  ++p_;
  skip_space();
  return true;
}

bool JsonScanner::next_member(JsonMember& out) {
  if (!step('{', '}')) return false;
  if (p_ == end_ || *p_ != '"') return fail();
  const char* const start = p_ + 1;
  if (!scan_string(out.key_escaped)) return fail();
  out.key = std::string_view(start, static_cast<size_t>(p_ - 1 - start));
  skip_space();
  if (p_ == end_ || *p_ != ':') return fail();
  ++p_;
  skip_space();
  return scan_value(out.value, 1) || fail();
}

bool JsonScanner::next_element(JsonValue& out) { return step('[', ']') && (scan_value(out, 1) || fail()); }

bool JsonScanner::whole_value(JsonValue& out) {
  skip_space();
  if (!scan_value(out, 0)) return fail();
  finish();
  return ok();
}

bool is_valid_json(std::string_view text) {
  JsonValue value;
  return JsonScanner(text).whole_value(value);
}

std::string_view decode_string(std::string_view raw, std::string& scratch) {
  assert(raw.size() >= 2 && raw.front() == '"' && raw.back() == '"');
  const std::string_view text = raw.substr(1, raw.size() - 2);
  size_t run = text.find('\\');
  if (run == std::string_view::npos) return text;
  const size_t begin = scratch.size();
  const auto append_utf8 = [&scratch](int c) {
    const auto tail = [c](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
    if (c < 0x80) {
      scratch += static_cast<char>(c);
    } else if (c < 0x800) {
      scratch += {static_cast<char>(0xC0 | c >> 6), tail(0)};
    } else if (c < 0x10000) {
      scratch += {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
    } else {
      scratch += {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
    }
  };
  size_t done = 0;
  for (; run != std::string_view::npos; run = text.find('\\', done)) {
    scratch.append(text, done, run - done);
    const char* const p = text.data() + run;
    done = run + 2;
    switch (p[1]) {
      case 'b':
        scratch += '\b';
        break;
      case 'f':
        scratch += '\f';
        break;
      case 'n':
        scratch += '\n';
        break;
      case 'r':
        scratch += '\r';
        break;
      case 't':
        scratch += '\t';
        break;
      case 'u': {
        int c = hex4(p + 2);
        done += 4;
        if (is_high_surrogate(c)) {
          c = 0x10000 + ((c - 0xD800) << 10) + (hex4(p + 8) - 0xDC00);
          done += 6;
        }
        append_utf8(c);
        break;
      }
      default:
        scratch += p[1];
    }
  }
  scratch.append(text, done);
  return std::string_view(scratch).substr(begin);
}

// HOT PATH
void append_json_string(std::string& out, std::string_view utf8) {
  out += '"';
  const char* p = utf8.data();
  const char* const end = p + utf8.size();
  uint64_t seen = 0;
  for (;;) {
    const char* const stop = find_special(p, end, seen);
    out.append(p, stop);
    if (stop == end) break;
    p = stop + 1;
    switch (*stop) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out += *stop < 0x10 ? '0' : '1';
        out += "0123456789abcdef"[*stop & 15];
    }
  }
  out += '"';
}

void append_uint(std::string& out, uint64_t value) {
  std::array<char, 20> digits;
  out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

std::optional<uint64_t> parse_uint64(std::string_view raw) {
  uint64_t value;
  if (raw.empty() || (raw.size() > 1 && raw.front() == '0')) return std::nullopt;
  const auto [end, error] = std::from_chars(raw.data(), raw.data() + raw.size(), value);
  if (error != std::errc{} || end != raw.data() + raw.size()) return std::nullopt;
  return value;
}

}  // namespace hubbub::protocol
