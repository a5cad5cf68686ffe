#include "hubbub/broker/redis/envelope.hpp"

#include <charconv>
#include <utility>

#include "hubbub/base/wire.hpp"
#include "hubbub/protocol/identifier.hpp"
#include "hubbub/protocol/json.hpp"

namespace hubbub::broker::redis {

namespace {

constexpr std::size_t kTypeMax = 64;

/// A number that ends with a blank, which goes too.
std::optional<std::uint64_t> take_number(std::string_view& text, int base = 10) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failed] = std::from_chars(text.data(), end, value, base);
  if (failed != std::errc{} || at == end || *at != ' ') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(at - text.data()) + 1);
  return value;
}

std::optional<std::uint64_t> hex_number(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failed] = std::from_chars(text.data(), end, value, 16);
  if (failed != std::errc{} || at != end) return std::nullopt;
  return value;
}

}  // namespace

void append_publication(std::string& out, const Publication& publication) {
  out.reserve(out.size() + publication.type.size() + publication.body.size() + 64);
  base::WireWriter(out)
      .text(publication.type)
      .text(publication.body)
      .number(static_cast<std::uint64_t>(publication.unix_ms))
      .number(publication.exclude_session)
      .text(publication.exclude_user.view())
      .number(publication.report);
}

std::optional<Publication> parse_publication(std::string_view bytes) {
  base::WireReader in(bytes);
  Publication publication;
  publication.type = in.text();
  publication.body = in.text();
  publication.unix_ms = static_cast<std::int64_t>(in.number());
  publication.exclude_session = in.number();
  publication.exclude_user = base::SharedString(in.text());
  publication.report = in.number();
  // Fields of a newer version may follow.
  if (!in.ok()) return std::nullopt;
  return publication;
}

std::optional<Publication> parse_plain_publication(std::string_view json, std::string_view default_type) {
  Publication publication;
  publication.type = default_type;
  publication.keep = false;
  const bool whole = protocol::scan_object(json, [&](const protocol::JsonMember& member) {
    if (member.key == "type" && !member.key_escaped) {
      const bool plain = member.value.kind == protocol::JsonKind::kString && !member.value.escaped;
      if (plain && member.value.raw.size() > 2 && member.value.raw.size() <= kTypeMax + 2) {
        publication.type = member.value.raw.substr(1, member.value.raw.size() - 2);
      }
      return;
    }
    if (!publication.body.empty()) publication.body += ',';
    publication.body.append(1, '"').append(member.key).append("\":").append(member.value.raw);
  });
  if (!whole) return std::nullopt;
  return publication;
}

std::optional<ChannelMessage> parse_channel_message(std::string_view bytes) {
  using Kind = ChannelMessage::Kind;
  ChannelMessage message;
  if (bytes.size() < 2 || bytes[0] != '\1') {
    message.payload = bytes;
    return message;
  }
  message.kind = static_cast<Kind>(bytes[1]);
  std::string_view rest = bytes.substr(2);
  const auto user = [&](std::string_view text) {
    message.user = text;
    return protocol::is_valid_identifier(text);
  };
  switch (message.kind) {
    case Kind::kKept: {
      const auto epoch = take_number(rest, 16);
      const auto seq = take_number(rest);
      const auto id_ms = take_number(rest);
      if (!epoch || !seq || *seq == 0 || !id_ms) return std::nullopt;
      message.position = {*epoch, *seq};
      message.id_ms = *id_ms;
      message.payload = rest;
      return message;
    }
    case Kind::kEphemeral:
      message.payload = rest;
      return message;
    case Kind::kErased: {
      const auto epoch = hex_number(rest);
      if (!epoch) return std::nullopt;
      message.position.epoch = *epoch;
      return message;
    }
    case Kind::kJoined:
    case Kind::kLeft:
    case Kind::kTyping: {
      const auto number = take_number(rest);
      if (!number || !user(rest)) return std::nullopt;
      message.number = *number;
      return message;
    }
    case Kind::kPresence: {
      const auto number = take_number(rest);
      const auto when = take_number(rest);
      if (!number || !when || !user(rest)) return std::nullopt;
      message.number = *number;
      message.id_ms = *when;
      return message;
    }
    case Kind::kPlain:
      break;
  }
  return std::nullopt;
}

}  // namespace hubbub::broker::redis
