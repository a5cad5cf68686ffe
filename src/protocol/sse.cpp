#include "hubbub/protocol/sse.hpp"

#include "hubbub/protocol/json.hpp"

namespace hubbub::protocol {

namespace {
constexpr std::string_view kTypeStart = R"({"type":")";
}  // namespace

// HOT PATH
void append_sse_event(std::string& out, std::string_view json) {
  out += "event: ";
  // Every encoder writes the type first, and no type needs escaping.
  std::string_view type = "message";
  if (json.starts_with(kTypeStart)) {
    type = json.substr(kTypeStart.size());
    type = type.substr(0, type.find('"'));
  }
  out += type;
  out += "\ndata: ";
  for (;;) {
    const size_t end = json.find_first_of("\r\n");
    out += json.substr(0, end);
    if (end == std::string_view::npos) break;
    json.remove_prefix(end + (json.substr(end).starts_with("\r\n") ? 2 : 1));
    out += "\ndata: ";
  }
  out += "\n\n";
}

void append_sse_cursor(std::string& out, std::string_view cursor) {
  out += "event: cursor\nid: ";
  out += cursor;
  out += "\ndata: {}\n\n";
}

void append_sse_retry(std::string& out, int64_t retry_ms) {
  out += "retry: ";
  append_uint(out, static_cast<uint64_t>(retry_ms));
  out += "\n\n";
}

}  // namespace hubbub::protocol
