#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hubbub::protocol {

/// How far a session has come in one of its streams.
struct CursorEntry {
  std::string room_id;  ///< empty: the inbox
  uint64_t epoch = 0;
  uint64_t seq = 0;  ///< the newest event that was sent
};

/// How far a session has come in all of its streams: enough to go on from on any node. docs/protocol.md has the
/// format. Opaque to most, documented for those who build one from what they saw; as secret as a session's key, part of
/// which it may hold.
struct Cursor {
  uint64_t session = 0;  ///< the session to take over if it still lives; 0: none
  uint64_t key_tag = 0;  ///< first half of that session's key
  std::vector<CursorEntry> entries{};
  uint64_t answer = 0;  ///< of a poll: the number of the session's newest answer with something for it alone; 0: none

  [[nodiscard]] const CursorEntry* find(std::string_view room_id) const;
};

enum class CursorFault : uint8_t {
  kMalformed,  ///< not a cursor, damaged, or not this user's
  kTooManyRooms
};

inline constexpr size_t kCursorEntriesMax = 4096;

/// Of `user_id`'s own cursors only: the check covers the user, so that a cursor in the wrong hands is refused.
[[nodiscard]] std::variant<Cursor, CursorFault> parse_cursor(std::string_view text, std::string_view user_id);

/// Writes one cursor: construct, `add` each stream, `finish`.
class CursorWriter {
 public:
  /// `scratch` is cleared; it must live until finish().
  CursorWriter(std::string& scratch, uint64_t session, uint64_t key_tag, uint64_t answer = 0);
  void add(std::string_view room_id, uint64_t epoch, uint64_t seq);
  /// Appends the text: letters, digits, `-` and `_` only.
  void finish(std::string& out, std::string_view user_id);

 private:
  std::string& bytes_;
};

}  // namespace hubbub::protocol
