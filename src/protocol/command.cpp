#include "hubbub/protocol/command.hpp"

#include <algorithm>
#include <array>

#include "hubbub/protocol/identifier.hpp"

namespace hubbub::protocol {
namespace {

constexpr size_t kScratchKeepBytes = 64 * 1024;
constexpr size_t kEpochMaxBytes = 256;
constexpr size_t kEscapeMaxBytes = 6;  // \u0041: the longest that one byte of text can be written

/// Finds one of a few names with one comparison. The multipliers are searched at compile time, so a new name can't
/// make it collide.
template <size_t N>
class NameIndex {
 public:
  consteval explicit NameIndex(const std::array<std::string_view, N>& names) : names_(names) {
    for (a_ = 1; a_ < 64; ++a_)
      for (b_ = 1; b_ < 64; ++b_)
        if (fill()) return;
    throw "no perfect hash: widen the table";
  }
  /// N when it is none of them.
  [[nodiscard]] constexpr size_t find(std::string_view name) const {
    if (name.empty()) return N;
    const size_t at = slots_[slot(name)];
    return at != N && names_[at] == name ? at : N;
  }

 private:
  [[nodiscard]] constexpr size_t slot(std::string_view name) const {
    return (name.size() + a_ * static_cast<unsigned char>(name.front()) +
            b_ * static_cast<unsigned char>(name.back())) %
           slots_.size();
  }
  consteval bool fill() {
    slots_.fill(N);
    for (size_t i = 0; i < N; ++i) {
      auto& at = slots_[slot(names_[i])];
      if (at != N) return false;
      at = static_cast<uint8_t>(i);
    }
    return true;
  }

  std::array<std::string_view, N> names_;
  std::array<uint8_t, 64> slots_{};
  size_t a_ = 0;
  size_t b_ = 0;
};

constexpr NameIndex kFieldIndex{kFieldNames};
constexpr NameIndex kCommandIndex{[] {
  std::array<std::string_view, kCommands.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kCommands[i].name;
  return names;
}()};
constexpr size_t kFieldNameMax =
    std::ranges::max(kFieldNames, {}, [](std::string_view name) { return name.size(); }).size();

constexpr uint32_t bit(Field field) { return uint32_t{1} << static_cast<unsigned>(field); }
constexpr size_t index(Field field) { return static_cast<size_t>(field); }

bool is_usable_id(const JsonValue& value) {
  if (value.kind == JsonKind::kString) return value.raw.size() - 2 <= kCommandIdMaxBytes;
  return value.kind == JsonKind::kNumber && value.raw.size() <= kCommandIdMaxBytes;
}

/// Whether the value was read to its end: of `01` only the 0 has been seen when the text turns out to be bad.
bool is_whole(const JsonValue& value, std::string_view text) {
  const auto end = static_cast<size_t>(value.raw.data() + value.raw.size() - text.data());
  const size_t next = text.find_first_not_of(" \t\r\n", end);
  return next != std::string_view::npos && (text[next] == ',' || text[next] == '}');
}

bool take_uint(const JsonValue& value, std::optional<uint64_t>& out) {
  if (value.kind == JsonKind::kNumber) out = parse_uint64(value.raw);
  return out.has_value();
}

}  // namespace

CommandResult CommandParser::fail(ErrorCode code, std::string_view field) const {
  return CommandResult(CommandError{.code = code, .id = command_.id, .field = field});
}

/// HOT PATH. `max_bytes` are of the decoded text.
bool CommandParser::take_text(const JsonValue& value, size_t max_bytes, std::string_view& out) {
  if (value.kind != JsonKind::kString || value.raw.size() - 2 > max_bytes * kEscapeMaxBytes) return false;
  // Decoded slices of one text are never longer than it: room for all of them, made before the first one, keeps every
  // view into scratch_ where it is.
  if (value.escaped && scratch_.capacity() < text_bytes_) scratch_.reserve(text_bytes_);
  out = value.escaped ? decode_string(value.raw, scratch_) : value.raw.substr(1, value.raw.size() - 2);
  return out.size() <= max_bytes;
}

bool CommandParser::take_identifier(const JsonValue& value, std::string_view& out) {
  return take_text(value, kIdentifierMaxBytes, out) && is_valid_identifier(out);
}

bool CommandParser::take_users(const JsonValue& value) {
  if (value.kind != JsonKind::kArray) return false;
  users_.clear();
  const bool good = scan_array(value.raw, [this](const JsonValue& element) {
    std::string_view user;
    if (users_.size() == kUserIdsMax || !take_identifier(element, user)) return false;
    users_.push_back(user);
    return true;
  });
  command_.user_ids = users_;
  return good;
}

/// HOT PATH. Checks one field and puts it in its place.
bool CommandParser::take(Field field, const JsonValue& value) {
  switch (field) {
    case Field::kRoomId:
      return take_identifier(value, command_.room_id);
    case Field::kToUser:
      return take_identifier(value, command_.to_user);
    case Field::kToSession:
      return take_identifier(value, command_.to_session);
    case Field::kMessageId:
      return take_text(value, kMessageIdMaxBytes, command_.message_id) && !command_.message_id.empty();
    case Field::kStatus:
      return take_text(value, 16, command_.status) &&
             (command_.status == "online" || command_.status == "busy" || command_.status == "away");
    case Field::kEpoch:
      return take_text(value, kEpochMaxBytes, command_.epoch);
    case Field::kContent:
      command_.content = value.raw;
      return true;
    case Field::kData:
      command_.data = value.raw;
      return true;
    case Field::kSince:
      return take_uint(value, command_.since);
    case Field::kSinceSeq:
      return take_uint(value, command_.since_seq);
    case Field::kBeforeSeq:
      return take_uint(value, command_.before_seq);
    case Field::kSeq:
      return take_uint(value, command_.seq);
    case Field::kLimit: {
      std::optional<uint64_t> limit;
      if (!take_uint(value, limit) || *limit == 0 || *limit > kHistoryLimitMax) return false;
      command_.limit = static_cast<uint32_t>(*limit);
      return true;
    }
    case Field::kUserIds:
      return take_users(value);
    case Field::kType:
    case Field::kId:
    case Field::kNone:
      break;
  }
  return false;
}

// HOT PATH
CommandResult CommandParser::parse(std::string_view text) {
  command_ = Command{};
  scratch_.clear();
  if (scratch_.capacity() > kScratchKeepBytes) scratch_ = std::string();
  text_bytes_ = text.size();

  uint32_t seen = 0;
  const bool well_formed = scan_object(text, [this, &seen](const JsonMember& member) {
    std::string_view key = member.key;
    std::string decoded;
    if (member.key_escaped) {
      if (key.size() > kFieldNameMax * kEscapeMaxBytes) return;
      key = decode_string({key.data() - 1, key.size() + 2}, decoded);
    }
    const size_t at = kFieldIndex.find(key);
    if (at == kFieldCount) return;
    seen |= uint32_t{1} << at;
    values_[at] = member.value;
  });

  const JsonValue& id = values_[index(Field::kId)];
  const bool has_id = (seen & bit(Field::kId)) != 0 && id.kind != JsonKind::kNull;
  if (has_id && is_usable_id(id) && (well_formed || is_whole(id, text))) command_.id = id.raw;
  if (!well_formed) return fail(ErrorCode::kBadJson);
  if (has_id && command_.id.empty()) return fail(ErrorCode::kBadField, "id");

  const JsonValue& type = values_[index(Field::kType)];
  if ((seen & bit(Field::kType)) == 0 || type.kind == JsonKind::kNull) return fail(ErrorCode::kMissingField, "type");
  if (type.kind != JsonKind::kString) return fail(ErrorCode::kBadField, "type");
  std::string_view name;
  const size_t command = take_text(type, 64, name) ? kCommandIndex.find(name) : kCommands.size();
  if (command == kCommands.size()) return fail(ErrorCode::kUnknownType);

  const CommandSpec& spec = kCommands[command];
  command_.type = spec.type;
  for (const FieldSpec& field : spec.fields) {
    const JsonValue& value = values_[index(field.field)];
    // null is "not given", as many clients write it; only where any JSON is meant it is a value.
    if ((seen & bit(field.field)) == 0 || (value.kind == JsonKind::kNull && field.type != FieldType::kAnyJson)) {
      if (field.required) return fail(ErrorCode::kMissingField, field.name);
      continue;
    }
    if (!take(field.field, value)) return fail(ErrorCode::kBadField, field.name);
  }
  return CommandResult(command_);
}

}  // namespace hubbub::protocol
