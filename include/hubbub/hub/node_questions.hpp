#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/wire.hpp"
#include "hubbub/hub/backend_requests.hpp"
#include "hubbub/hub/session.hpp"

// What nodes ask and tell each other about their sessions, beyond what streams and presence carry. A question is its
// kind and fields (base/wire.hpp); an answer is fields. Nodes of different versions may meet: a kind that is not known
// gets an empty answer, and readers let more fields follow than they know.
namespace hubbub::hub {

enum class NodeAsk : std::uint8_t {
  kOrder = 1,     ///< user, what, room -> sessions
  kSessionsOf,    ///< user -> number, {session text, status}
  kSignal,        ///< user, session or 0, event -> sessions
  kBroadcast,     ///< event -> sessions
  kRemoveAll,     ///< room -> sessions
  kRooms,         ///< prefix, after, limit -> more, number, {id, members, sessions, epoch, seq}
  kRoomSessions,  ///< room -> sessions
  kUsers,         ///< after, limit -> more, number, {id, status, sessions}
  kTotals,        ///< -> sessions
  kCommands,      ///< session, key, number, {command} -> error code + 1 or 0, number, {answer}
  // Told:
  kRetire = 64,  ///< session, key tag
  kReceived      ///< user, seq
};

struct NodeQuestion {
  static std::string signal(std::string_view user, SessionId session, std::string_view event);
  static std::string received(std::string_view user, std::uint64_t seq);
  static std::string order(std::string_view user, const SessionOrder& order);
  static std::string about(NodeAsk what, std::string_view text = {});
  static std::string rooms(std::string_view prefix, const PageRequest& page);
  static std::string users(const PageRequest& page);
  static std::string retire(SessionId session, std::uint64_t key_tag);
  static std::string commands(SessionId session, std::string_view key, const std::vector<std::string_view>& texts);

  /// Of answers that are one number each.
  static std::size_t sum_of(const std::vector<std::string>& answers);
};

/// Field by field, for questions and answers alike.
std::string encode_number(std::uint64_t number);
std::string encode_rooms(const IdPage<RoomInfo>& page);
bool decode_rooms(std::string_view bytes, IdPage<RoomInfo>& page);
std::string encode_users(const IdPage<UserInfo>& page);
bool decode_users(std::string_view bytes, IdPage<UserInfo>& page);
std::string encode_sessions(const std::vector<NamedSession>& sessions);
bool decode_sessions(std::string_view bytes, std::vector<NamedSession>& sessions);

}  // namespace hubbub::hub
