#include "hubbub/broker/redis/redis_presence.hpp"

#include <algorithm>
#include <charconv>
#include <memory>

#include "hubbub/broker/redis/errors.hpp"
#include "hubbub/broker/redis/redis_broker.hpp"
#include "hubbub/broker/redis/scripts.hpp"
#include "hubbub/broker/redis/slot.hpp"

namespace hubbub::broker::redis {

namespace {

std::string room_channel(const base::SharedString& room) { return channel_of({StreamKind::kRoom, room}); }
std::string key(std::string_view route, std::string_view what, std::string_view name) {
  return Client::key(route, std::string(what).append(1, ':').append(name));
}
std::string watch_channel(std::string_view user) {
  return Client::key(RedisPresence::part_route(RedisPresence::part_of(user)), std::string("watch:").append(user));
}
std::string here_key(std::string_view route, std::string_view lease) {
  return Client::key(route, std::string("here:").append(lease).append(1, ':').append(route));
}

template <class Done>
std::unique_ptr<Done> boxed(Done done) {
  return std::make_unique<Done>(std::move(done));
}

std::vector<std::string> texts(const Reply& reply) {
  std::vector<std::string> out;
  out.reserve(reply.size());
  for (std::size_t i = 0; i < reply.size(); ++i) out.emplace_back(reply[i].text());
  return out;
}

}  // namespace

RedisPresence::RedisPresence(Client& client, const base::Clock& clock, Node& node, std::int64_t last_seen_ttl_ms,
                             PresenceSink& sink)
    : client_(client), clock_(clock), node_(node), last_seen_ttl_ms_(last_seen_ttl_ms), sink_(sink) {}

// The part decides a slot, so all nodes have to agree on it.
unsigned RedisPresence::part_of(std::string_view user) { return slot_of(user) % kUserParts; }
std::string RedisPresence::part_route(unsigned part) { return "hubbub:users:" + std::to_string(part); }
std::string RedisPresence::online_key(unsigned part) { return Client::key(part_route(part), "online"); }
std::string RedisPresence::part_users_key(unsigned part, std::string_view lease) {
  return key(part_route(part), "users", lease);
}
std::string RedisPresence::rooms_route() { return "hubbub:nodes"; }
std::string RedisPresence::rooms_key(std::string_view lease) { return key(rooms_route(), "rooms", lease); }

// -------------------------------------------------------------------------------------------------------------- rooms

Command RedisPresence::enter_command(std::string_view channel, std::string_view user, std::size_t names_max) const {
  Command command = Command::eval(scripts().enter, 3, 4);
  command.add(key(channel, "members", channel))
      .add(here_key(channel, node_.lease()))
      .add(key(channel, "more", channel))
      .add(client_.publish_verb())
      .add(channel)
      .add(user)
      .add(std::uint64_t{names_max});
  return command;
}

/// Before the first member is said, so that whoever takes the lease back finds the room.
void RedisPresence::list_room(const Id& room) {
  Command list(3);
  list.add("SADD").add(rooms_key(node_.lease())).add(room_channel(room));
  client_.send(rooms_route(), std::move(list), [](const base::Result<Reply>&) {});
}

void RedisPresence::enter(const Id& room, const Id& user, std::size_t names_max, RoomDone done) {
  auto& users = here_[room];
  if (users.empty()) list_room(room);
  users.insert(user);
  const std::string channel = room_channel(room);
  client_.send(channel, enter_command(channel, user.view(), names_max),
               [done = boxed(std::move(done))](const base::Result<Reply>& reply) {
                 if (!reply) return (*done)(reply.error());
                 (*done)(Room{reply.value()[0].number(), texts(reply.value()[1])});
               });
}

void RedisPresence::keep(const Id& room, const Id& user) {
  auto& users = here_[room];
  if (users.empty()) list_room(room);
  users.insert(user);
  say_member(room, user, true);
}

Command RedisPresence::leave_command(std::string_view verb, std::string_view channel, std::string_view lease,
                                     std::size_t max, const std::vector<std::string_view>& users) {
  Command command = Command::eval(scripts().leave, 3, 3 + users.size());
  command.add(key(channel, "members", channel))
      .add(here_key(channel, lease))
      .add(key(channel, "more", channel))
      .add(verb)
      .add(channel)
      .add(std::uint64_t{max});
  for (const std::string_view user : users) command.add(user);
  return command;
}

void RedisPresence::leave(const Id& room, const Id& user) {
  const auto here = here_.find(room);
  if (here == here_.end() || here->second.erase(user) == 0) return;
  say_member(room, user, false);
  if (!here->second.empty()) return;
  here_.erase(here);
  Command list(3);
  list.add("SREM").add(rooms_key(node_.lease())).add(room_channel(room));
  client_.send(rooms_route(), std::move(list), [](const base::Result<Reply>&) {});
}

void RedisPresence::say_member(const Id& room, const Id& user, bool here) {
  const std::string channel = room_channel(room);
  Command command = here ? enter_command(channel, user.view(), 0)
                         : leave_command(client_.publish_verb(), channel, node_.lease(), 0, {user.view()});
  client_.send(channel, std::move(command),
               [this, room, user, forgotten = node_.forgotten()](const base::Result<Reply>& reply) {
                 if (!reply && node_.forgotten() == forgotten) unheard_members_.emplace_back(room, user);
               });
}

void RedisPresence::members(const Id& room, std::string_view after, std::size_t limit, MembersDone done) {
  const std::string channel = room_channel(room);
  const std::string members = key(channel, "members", channel);
  Command count(2);
  count.add("ZCARD").add(members);
  // Two commands one behind the other: the second one's answer comes after the first one's.
  auto answer = std::make_shared<Members>();
  client_.send(channel, std::move(count), [answer](const base::Result<Reply>& reply) {
    if (reply) answer->members = reply->number();
  });
  Command page(7);
  page.add("ZRANGEBYLEX")
      .add(members)
      .add(after.empty() ? std::string("-") : std::string("(").append(after))
      .add("+")
      .add("LIMIT")
      .add("0")
      .add(std::uint64_t{limit} + 1);
  client_.send(channel, std::move(page),
               [answer, limit, done = boxed(std::move(done))](const base::Result<Reply>& reply) {
                 if (!reply) return (*done)(reply.error());
                 answer->names = texts(*reply);
                 answer->more = answer->names.size() > limit;
                 if (answer->more) answer->names.pop_back();
                 (*done)(std::move(*answer));
               });
}

void RedisPresence::type(const Id& room, const Id& user, bool starts, std::int64_t ttl_ms) {
  const std::string channel = room_channel(room);
  Command command = Command::eval(scripts().typing, 1, 6);
  command.add(key(channel, "typing", channel))
      .add(client_.publish_verb())
      .add(channel)
      .add(user.view())
      .add(starts ? "1" : "0")
      .add(clock_.unix_ms() + ttl_ms)
      .add(2 * ttl_ms);
  client_.send(channel, std::move(command), [](const base::Result<Reply>&) {});
}

void RedisPresence::typing(const Id& room, NamesDone done) {
  const std::string channel = room_channel(room);
  Command command(4);
  command.add("ZRANGEBYSCORE").add(key(channel, "typing", channel)).add(clock_.unix_ms()).add("+inf");
  client_.send(channel, std::move(command), [done = boxed(std::move(done))](const base::Result<Reply>& reply) {
    if (!reply) return (*done)(reply.error());
    (*done)(texts(*reply));
  });
}

void RedisPresence::on_room_message(const Id& room, const ChannelMessage& message) {
  const Id user(message.user);
  if (message.kind == ChannelMessage::Kind::kTyping) return sink_.on_typing(room, user, message.number != 0);
  sink_.on_member(room, user, message.kind == ChannelMessage::Kind::kJoined, message.number);
}

// -------------------------------------------------------------------------------------------------------------- users

Command RedisPresence::user_command(std::string_view verb, std::string_view user, std::string_view lease,
                                    std::uint8_t status, std::size_t sessions, std::int64_t now_ms,
                                    std::int64_t seen_ttl_ms, const std::vector<std::string>& over) {
  const unsigned part = part_of(user);
  const std::string route = part_route(part);
  Command command = Command::eval(scripts().user, 4, 8 + over.size());
  command.add(key(route, "user", user))
      .add(online_key(part))
      .add(part_users_key(part, lease))
      .add(key(route, "seen", user))
      .add(verb)
      .add(watch_channel(user))
      .add(user)
      .add(lease)
      .add(std::uint64_t{status})
      .add(std::uint64_t{sessions})
      .add(now_ms)
      .add(seen_ttl_ms);
  for (const std::string& each : over) command.add(each);
  return command;
}

void RedisPresence::set_user(const Id& user, std::uint8_t status, std::size_t sessions) {
  unheard_words_.erase(user);
  say_user(user, {sessions == 0 ? std::uint8_t{0} : status, sessions});
}

void RedisPresence::say_user(const Id& user, Word word) {
  const Node::View view = node_.view();
  client_.send(part_route(part_of(user.view())),
               user_command(client_.publish_verb(), user.view(), view.lease, word.status, word.sessions,
                            clock_.unix_ms(), last_seen_ttl_ms_, view.over),
               [this, user, word, forgotten = view.forgotten](const base::Result<Reply>& reply) {
                 if (!reply && node_.forgotten() == forgotten) unheard_words_.try_emplace(user, word);
               });
}

void RedisPresence::watch(const Id& user, Done done) { client_.subscribe(watch_channel(user.view()), std::move(done)); }

void RedisPresence::unwatch(const Id& user) { client_.unsubscribe(watch_channel(user.view())); }

bool RedisPresence::is_watch_channel(std::string_view channel) {
  return channel.starts_with("hubbub:{") && channel.find("}:watch:") != std::string_view::npos;
}

void RedisPresence::on_watch_message(const ChannelMessage& message) {
  sink_.on_presence(Id(message.user), static_cast<std::uint8_t>(std::min<std::uint64_t>(message.number, 255)),
                    static_cast<std::int64_t>(message.id_ms));
}

void RedisPresence::on_watch_resubscribed(std::string_view channel) {
  const std::size_t at = channel.find("}:watch:");
  const Id user(channel.substr(at + 8));
  users({user}, [this, user](const base::Result<std::vector<User>>& found) {
    if (!found) return;
    const User& now = found->front();
    sink_.on_presence(user, now.status, now.last_seen_ms.value_or(clock_.unix_ms()));
  });
}

void RedisPresence::users(const std::vector<Id>& asked, UsersDone done) {
  struct Gathering {
    std::vector<User> users;
    std::vector<std::string> over;
    UsersDone done;
    std::size_t waiting = 0;
    base::error_code error{};
  };
  auto gathering =
      std::make_shared<Gathering>(Gathering{std::vector<User>(asked.size()), node_.view().over, std::move(done)});
  std::vector<std::vector<std::size_t>> by_part(kUserParts);
  for (std::size_t i = 0; i < asked.size(); ++i) by_part[part_of(asked[i].view())].push_back(i);
  for (unsigned part = 0; part < kUserParts; ++part) {
    if (by_part[part].empty()) continue;
    const std::string route = part_route(part);
    Command command = Command::eval(scripts().users, 2 * by_part[part].size(), 0);
    for (const std::size_t i : by_part[part]) {
      command.add(key(route, "user", asked[i].view())).add(key(route, "seen", asked[i].view()));
    }
    ++gathering->waiting;
    client_.send(
        route, std::move(command),
        [gathering, places = std::move(by_part[part]), now_ms = clock_.unix_ms()](const base::Result<Reply>& reply) {
          if (!reply) gathering->error = reply.error();
          for (std::size_t n = 0; reply && n < places.size(); ++n) {
            User& user = gathering->users[places[n]];
            const Reply words = reply.value()[2 * n];
            for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
              const std::string_view lease = words[i].text();
              const auto& over = gathering->over;
              if (std::find(over.begin(), over.end(), lease) != over.end()) continue;
              const std::string_view word = words[i + 1].text();
              if (word.size() < 3 || word[0] < '0' || word[0] > '9') continue;
              std::size_t sessions = 0;
              std::from_chars(word.data() + 2, word.data() + word.size(), sessions);
              user.status = std::max(user.status, static_cast<std::uint8_t>(word[0] - '0'));
              user.nodes.emplace_back(Node::tag_of(lease), sessions);
            }
            if (user.status != 0) {
              user.last_seen_ms = now_ms;
            } else if (const std::int64_t seen = reply.value()[2 * n + 1].integer(); seen != 0) {
              user.last_seen_ms = seen;
            }
          }
          if (--gathering->waiting != 0) return;
          if (gathering->error) return gathering->done(gathering->error);
          gathering->done(std::move(gathering->users));
        });
  }
  if (asked.empty()) {
    Command ping(1);
    ping.add("PING");
    client_.send(rooms_route(), std::move(ping),
                 [gathering](const base::Result<Reply>&) { gathering->done(std::vector<User>{}); });
  }
}

void RedisPresence::online(CountDone done) {
  struct Sum {
    CountDone done;
    std::size_t count = 0, waiting = kUserParts;
    base::error_code error{};
  };
  auto sum = std::make_shared<Sum>(Sum{std::move(done)});
  for (unsigned part = 0; part < kUserParts; ++part) {
    Command command(2);
    command.add("SCARD").add(online_key(part));
    client_.send(part_route(part), std::move(command), [sum](const base::Result<Reply>& reply) {
      if (reply) {
        sum->count += reply->number();
      } else {
        sum->error = reply.error();
      }
      if (--sum->waiting != 0) return;
      if (sum->error) return sum->done(sum->error);
      sum->done(sum->count);
    });
  }
}

void RedisPresence::tick() {
  if (const std::uint64_t forgotten = node_.forgotten(); forgotten != forgotten_) {
    forgotten_ = forgotten;
    here_.clear();
    unheard_members_.clear();
    unheard_words_.clear();
    sink_.on_forgotten();
    return;
  }
  for (const auto& [room, user] : std::exchange(unheard_members_, {})) {
    const auto here = here_.find(room);
    say_member(room, user, here != here_.end() && here->second.contains(user));
  }
  for (const auto& [user, word] : std::exchange(unheard_words_, {})) say_user(user, word);
}

}  // namespace hubbub::broker::redis
