#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/protocol/errors.hpp"
#include "hubbub/protocol/json.hpp"
#include "hubbub/protocol/schema.hpp"

namespace hubbub::protocol {

/// One checked command. Required fields of its type are there; fields that its type does not know are empty even if
/// the client sent them. Text fields are decoded and valid; `id`, `content` and `data` are raw JSON.
struct Command {
  CommandType type = CommandType::kPing;
  std::string_view id;  ///< raw JSON string or number, to be echoed as it is; empty when absent
  std::string_view room_id;
  std::string_view to_user;
  std::string_view to_session;
  std::string_view message_id;
  std::string_view status;  ///< "online", "busy" or "away"
  std::string_view epoch;
  std::string_view content;
  std::string_view data;
  std::optional<uint64_t> since;
  std::optional<uint64_t> since_seq;
  std::optional<uint64_t> before_seq;
  std::optional<uint64_t> seq;
  std::optional<uint32_t> limit;  ///< 1..kHistoryLimitMax
  std::span<const std::string_view> user_ids;
};

struct CommandError {
  ErrorCode code = ErrorCode::kBadJson;  ///< kBadJson, kUnknownType, kMissingField or kBadField
  std::string_view id;                   ///< raw; empty when there is none or it could not be read
  std::string_view field;                ///< name of the field at fault; empty when none is
};

/// A command or what is wrong with it. Refers to the parser: valid until its next `parse`.
class CommandResult {
 public:
  explicit CommandResult(const Command& command) : command_(&command) {}
  explicit CommandResult(const CommandError& error) : error_(error) {}

  explicit operator bool() const { return command_ != nullptr; }
  [[nodiscard]] bool has_value() const { return command_ != nullptr; }
  const Command& operator*() const { return *command_; }
  const Command* operator->() const { return command_; }
  [[nodiscard]] const CommandError& error() const { return error_; }

 private:
  const Command* command_ = nullptr;
  CommandError error_;
};

/// Text to Command. One a shard: it owns the room for decoded strings, so that parsing does not allocate once warm.
class CommandParser {
 public:
  /// [shard] Views in the result point into `text` and into this parser: valid while `text` lives and until the next
  /// call.
  CommandResult parse(std::string_view text);

 private:
  CommandResult fail(ErrorCode code, std::string_view field = {}) const;
  bool take(Field field, const JsonValue& value);
  bool take_text(const JsonValue& value, size_t max_bytes, std::string_view& out);
  bool take_identifier(const JsonValue& value, std::string_view& out);
  bool take_users(const JsonValue& value);

  Command command_;
  std::array<JsonValue, kFieldCount> values_;  ///< of the members of known name, last one wins
  std::string scratch_;                        ///< decoded strings
  std::vector<std::string_view> users_;
  size_t text_bytes_ = 0;
};

}  // namespace hubbub::protocol
