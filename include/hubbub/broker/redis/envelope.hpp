#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hubbub/broker/broker.hpp"

// What nodes write into streams and channels. Read like any other input: each reader checks.
namespace hubbub::broker::redis {

/// A publication as the stream keeps it; without dedupe_key.
void append_publication(std::string& out, const Publication& publication);
std::optional<Publication> parse_publication(std::string_view bytes);
/// What a backend published itself, a JSON object: carried like an event that is not kept. Nothing if it is none.
std::optional<Publication> parse_plain_publication(std::string_view json, std::string_view default_type);

/// What a channel carried. Views of the message.
struct ChannelMessage {
  enum class Kind : char {
    kKept = 'K',       ///< position, id_ms, payload: a publication
    kEphemeral = 'E',  ///< payload: a publication
    kErased = 'X',     ///< epoch: the stream's from now on
    kJoined = 'J',     ///< number: members; user
    kLeft = 'L',       ///< the same
    kTyping = 'T',     ///< number: 1 starts, 0 stops; user
    kPresence = 'P',   ///< number: status; id_ms: when; user
    kPlain = '{'       ///< payload: by somebody who is no node
  };
  Kind kind = Kind::kPlain;
  Position position{};
  std::uint64_t id_ms = 0;
  std::uint64_t number = 0;
  std::string_view user{};
  std::string_view payload{};
};
/// Nothing when it is broken.
std::optional<ChannelMessage> parse_channel_message(std::string_view bytes);

}  // namespace hubbub::broker::redis
