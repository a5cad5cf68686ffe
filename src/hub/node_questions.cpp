#include "hubbub/hub/node_questions.hpp"

namespace hubbub::hub {

using base::WireReader;
using base::WireWriter;

namespace {

constexpr std::uint64_t kMaxItems = 100'000;

WireWriter begin(std::string& out, NodeAsk what) {
  WireWriter writer(out);
  writer.number(static_cast<std::uint64_t>(what));
  return writer;
}

}  // namespace

Status status_of(std::uint64_t number) {
  return number > static_cast<std::uint64_t>(Status::kOnline) ? Status::kOnline : static_cast<Status>(number);
}

std::string NodeQuestion::signal(std::string_view user, SessionId session, std::string_view event) {
  std::string out;
  begin(out, NodeAsk::kSignal).text(user).number(session).text(event);
  return out;
}

std::string NodeQuestion::received(std::string_view user, std::uint64_t seq) {
  std::string out;
  begin(out, NodeAsk::kReceived).text(user).number(seq);
  return out;
}

std::string NodeQuestion::order(std::string_view user, const SessionOrder& order) {
  std::string out;
  begin(out, NodeAsk::kOrder).text(user).number(static_cast<std::uint64_t>(order.what)).text(order.room.view());
  return out;
}

std::string NodeQuestion::about(NodeAsk what, std::string_view text) {
  std::string out;
  begin(out, what).text(text);
  return out;
}

std::string NodeQuestion::rooms(std::string_view prefix, const PageRequest& page) {
  std::string out;
  begin(out, NodeAsk::kRooms).text(prefix).text(page.after).number(page.limit);
  return out;
}

std::string NodeQuestion::users(const PageRequest& page) {
  std::string out;
  begin(out, NodeAsk::kUsers).text(page.after).number(page.limit);
  return out;
}

std::string NodeQuestion::retire(SessionId session, std::uint64_t key_tag) {
  std::string out;
  begin(out, NodeAsk::kRetire).number(session).number(key_tag);
  return out;
}

std::string NodeQuestion::commands(SessionId session, std::string_view key,
                                   const std::vector<std::string_view>& texts) {
  std::string out;
  WireWriter writer = begin(out, NodeAsk::kCommands);
  writer.number(session).text(key).number(texts.size());
  for (const std::string_view text : texts) writer.text(text);
  return out;
}

std::size_t NodeQuestion::sum_of(const std::vector<std::string>& answers) {
  std::size_t sum = 0;
  for (const std::string& answer : answers) sum += WireReader(answer).number();
  return sum;
}

std::string encode_number(std::uint64_t number) {
  std::string out;
  WireWriter(out).number(number);
  return out;
}

std::string encode_rooms(const IdPage<RoomInfo>& page) {
  std::string out;
  WireWriter writer(out);
  writer.number(page.more ? 1 : 0).number(page.items.size());
  for (const RoomInfo& room : page.items) {
    writer.text(room.id.view())
        .number(room.members)
        .number(room.sessions)
        .number(room.position.epoch)
        .number(room.position.seq);
  }
  return out;
}

bool decode_rooms(std::string_view bytes, IdPage<RoomInfo>& page) {
  WireReader in(bytes);
  page.more = in.number() != 0;
  const std::uint64_t count = in.number();
  for (std::uint64_t i = 0; in.ok() && i < count && i < kMaxItems; ++i) {
    RoomInfo room;
    room.id = base::SharedString(in.text());
    room.members = in.number();
    room.sessions = in.number();
    room.position.epoch = in.number();
    room.position.seq = in.number();
    if (in.ok()) page.items.push_back(std::move(room));
  }
  return in.ok();
}

std::string encode_users(const IdPage<UserInfo>& page) {
  std::string out;
  WireWriter writer(out);
  writer.number(page.more ? 1 : 0).number(page.items.size());
  for (const UserInfo& user : page.items) {
    writer.text(user.id.view()).number(static_cast<std::uint64_t>(user.status)).number(user.sessions);
  }
  return out;
}

bool decode_users(std::string_view bytes, IdPage<UserInfo>& page) {
  WireReader in(bytes);
  page.more = in.number() != 0;
  const std::uint64_t count = in.number();
  for (std::uint64_t i = 0; in.ok() && i < count && i < kMaxItems; ++i) {
    UserInfo user;
    user.id = base::SharedString(in.text());
    user.status = status_of(in.number());
    user.sessions = in.number();
    if (in.ok()) page.items.push_back(std::move(user));
  }
  return in.ok();
}

std::string encode_sessions(const std::vector<NamedSession>& sessions) {
  std::string out;
  WireWriter writer(out);
  writer.number(sessions.size());
  for (const NamedSession& session : sessions) {
    writer.text(session.id).number(static_cast<std::uint64_t>(session.status));
  }
  return out;
}

bool decode_sessions(std::string_view bytes, std::vector<NamedSession>& sessions) {
  WireReader in(bytes);
  const std::uint64_t count = in.number();
  for (std::uint64_t i = 0; in.ok() && i < count && i < kMaxItems; ++i) {
    NamedSession session;
    session.id = in.text();
    session.status = status_of(in.number());
    if (in.ok()) sessions.push_back(std::move(session));
  }
  return in.ok();
}

}  // namespace hubbub::hub
