// Any bytes as a cursor: parsing never crashes, and what is accepted is exactly what would be written.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "hubbub/protocol/cursor.hpp"

namespace {

using namespace hubbub::protocol;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

std::string write(const Cursor& cursor) {
  std::string scratch, text;
  CursorWriter writer(scratch, cursor.session, cursor.key_tag, cursor.answer);
  for (const CursorEntry& entry : cursor.entries) writer.add(entry.room_id, entry.epoch, entry.seq);
  writer.finish(text, "u");
  return text;
}

/// Bytes behind a right check, so that the fuzzer gets past it.
std::string with_right_check(std::string_view bytes) {
  std::string scratch, text;
  CursorWriter writer(scratch, 0, 0);
  scratch.assign(bytes);
  writer.finish(text, "u");
  return text;
}

void check(std::string_view text) {
  const auto parsed = parse_cursor(text, "u");
  if (!std::holds_alternative<Cursor>(parsed)) return;
  const Cursor& cursor = std::get<Cursor>(parsed);
  require(cursor.entries.size() <= kCursorEntriesMax, "the number of streams is bounded");
  // A session of 0 is "none" and is not written.
  if (cursor.session != 0 || cursor.key_tag == 0) {
    const std::string again = write(cursor);
    require(again == text || cursor.session == 0, "one cursor has one spelling");
    require(std::holds_alternative<Cursor>(parse_cursor(again, "u")), "what is written is accepted");
  }
  require(std::holds_alternative<CursorFault>(parse_cursor(text, "v")), "another user's cursor is refused");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  check(with_right_check(bytes));
  return 0;
}
