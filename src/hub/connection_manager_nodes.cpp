#include <openssl/crypto.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "hubbub/base/random.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/node_questions.hpp"
#include "hubbub/hub/session_shard.hpp"

// What is asked of all shards, and of all nodes: how the answers are gathered, and what this node answers to others.
namespace hubbub::hub {

using protocol::ErrorCode;

namespace {

template <class T>
using Answered = ConnectionManager::Answered<T>;

template <class T>
std::shared_ptr<Answered<T>> shared(Answered<T> done) {
  return std::make_shared<Answered<T>>(std::move(done));
}

void add_up(RoomInfo& into, const RoomInfo& more) {
  into.sessions += more.sessions;
  into.members = std::max(into.members, more.members);
  if (more.position.seq > into.position.seq) into.position = more.position;
}

void add_up(UserInfo& into, const UserInfo& more) {
  into.sessions += more.sessions;
  into.status = std::max(into.status, more.status);
}

/// One page of what each shard or node gave a page of; what several have is added up.
template <class T>
IdPage<T> merge(std::vector<IdPage<T>> pages, std::size_t limit) {
  IdPage<T> all;
  for (IdPage<T>& page : pages) {
    all.more = all.more || page.more;
    std::move(page.items.begin(), page.items.end(), std::back_inserter(all.items));
  }
  std::sort(all.items.begin(), all.items.end(), [](const T& a, const T& b) { return a.id.view() < b.id.view(); });
  IdPage<T> merged{{}, all.more};
  for (T& item : all.items) {
    if (!merged.items.empty() && merged.items.back().id == item.id) {
      add_up(merged.items.back(), item);
    } else if (merged.items.size() == limit) {
      merged.more = true;
      break;
    } else {
      merged.items.push_back(std::move(item));
    }
  }
  return merged;
}

template <class T>
std::vector<IdPage<T>> decode_pages(IdPage<T> own, const std::vector<std::string>& answers,
                                    bool (*decode)(std::string_view, IdPage<T>&)) {
  std::vector<IdPage<T>> pages;
  pages.push_back(std::move(own));
  for (const std::string& answer : answers) {
    IdPage<T> page;
    if (decode(answer, page)) pages.push_back(std::move(page));
  }
  return pages;
}

}  // namespace

// -------------------------------------------------------------------------------------------------------------- rooms

void ConnectionManager::rooms(unsigned from, std::string prefix, PageRequest page, Answered<IdPage<RoomInfo>> done) {
  ask_homes(
      from, [page, prefix](HomeShard& home) { return home.rooms(prefix, page); },
      [this, from, page, prefix, done = shared(std::move(done))](std::vector<IdPage<RoomInfo>> pages) {
        IdPage<RoomInfo> here = merge(std::move(pages), page.limit);
        if (node_ == 0) return (*done)(std::move(here));
        homes_[from]->ask_all_nodes(
            NodeQuestion::rooms(prefix, page),
            [this, from, limit = page.limit, done,
             here = std::make_shared<IdPage<RoomInfo>>(std::move(here))](const std::vector<std::string>& answers) {
              auto merged = std::make_shared<IdPage<RoomInfo>>(
                  merge(decode_pages(std::move(*here), answers, decode_rooms), limit));
              if (merged->items.empty()) return (*done)(std::move(*merged));
              // A user may be in a room by several nodes: only together they know how many users there are.
              auto waiting = std::make_shared<std::size_t>(merged->items.size());
              for (std::size_t i = 0; i < merged->items.size(); ++i) {
                homes_[from]->presence_store()->members(
                    merged->items[i].id, {}, 0,
                    [merged, i, waiting, done](const base::Result<broker::PresenceStore::Members>& members) {
                      if (members) merged->items[i].members = members->members;
                      if (--*waiting == 0) (*done)(std::move(*merged));
                    });
              }
            });
      });
}

void ConnectionManager::room(unsigned from, const base::SharedString& id, Answered<std::optional<RoomInfo>> done) {
  using Found = base::Result<std::optional<RoomInfo>>;
  ask_home_later<Found>(
      from, id, [id](HomeShard& home, auto then) { home.room(id, std::move(then)); },
      [this, from, id, done = shared(std::move(done))](const Found& found) {
        if (!found || node_ == 0) return (*done)(found);
        auto info = std::make_shared<RoomInfo>(found->value_or(RoomInfo{.id = id}));
        const bool known = found->has_value();
        homes_[from]->ask_all_nodes(
            NodeQuestion::about(NodeAsk::kRoomSessions, id.view()),
            [this, from, id, info, known, done](const std::vector<std::string>& answers) {
              info->sessions += NodeQuestion::sum_of(answers);
              homes_[from]->presence_store()->members(
                  id, {}, 0, [info, known, done](const base::Result<broker::PresenceStore::Members>& members) {
                    if (!members) return (*done)(members.error());
                    info->members = members->members;
                    if (!known && info->members == 0 && info->sessions == 0) return (*done)(std::optional<RoomInfo>{});
                    (*done)(std::optional(std::move(*info)));
                  });
            });
      });
}

void ConnectionManager::members(unsigned from, const base::SharedString& room, PageRequest page,
                                Answered<RoomMembers> done) {
  if (node_ == 0) {
    return ask_home(
        from, room, [room, page](HomeShard& home) { return home.members(room, page); },
        [done = shared(std::move(done))](RoomMembers members) { (*done)(std::move(members)); });
  }
  homes_[from]->presence_store()->members(
      room, page.after, page.limit,
      [done = shared(std::move(done))](const base::Result<broker::PresenceStore::Members>& found) {
        if (!found) return (*done)(found.error());
        RoomMembers members{.count = found->members, .users = {}, .more = found->more};
        for (const std::string& name : found->names) members.users.emplace_back(name);
        (*done)(std::move(members));
      });
}

void ConnectionManager::typing_users(unsigned from, const base::SharedString& room,
                                     Answered<std::vector<base::SharedString>> done) {
  if (node_ == 0) {
    return ask_home(
        from, room, [room](HomeShard& home) { return home.typing_users(room); },
        [done = shared(std::move(done))](std::vector<base::SharedString> users) { (*done)(std::move(users)); });
  }
  homes_[from]->presence_store()->typing(
      room, [done = shared(std::move(done))](const base::Result<std::vector<std::string>>& names) {
        if (!names) return (*done)(names.error());
        std::vector<base::SharedString> users;
        for (const std::string& name : *names) users.emplace_back(name);
        (*done)(std::move(users));
      });
}

// -------------------------------------------------------------------------------------------------------------- users

void ConnectionManager::users(unsigned from, PageRequest page, Answered<IdPage<UserInfo>> done) {
  ask_homes(
      from, [page](HomeShard& home) { return home.users(page); },
      [this, from, page, done = shared(std::move(done))](std::vector<IdPage<UserInfo>> pages) {
        auto here = std::make_shared<IdPage<UserInfo>>(merge(std::move(pages), page.limit));
        if (node_ == 0) return (*done)(std::move(*here));
        homes_[from]->ask_all_nodes(NodeQuestion::users(page),
                                    [here, limit = page.limit, done](const std::vector<std::string>& answers) {
                                      (*done)(merge(decode_pages(std::move(*here), answers, decode_users), limit));
                                    });
      });
}

void ConnectionManager::user_totals(unsigned from, Answered<UserTotals> done) {
  ask_homes(
      from, [](HomeShard& home) { return home.user_totals(); },
      [this, from, done = shared(std::move(done))](const std::vector<UserTotals>& totals) {
        UserTotals sum;
        for (const UserTotals& each : totals) {
          sum.users += each.users;
          sum.sessions += each.sessions;
        }
        if (node_ == 0) return (*done)(sum);
        homes_[from]->ask_all_nodes(
            NodeQuestion::about(NodeAsk::kTotals), [this, from, sum, done](const std::vector<std::string>& answers) {
              const std::size_t sessions = sum.sessions + NodeQuestion::sum_of(answers);
              homes_[from]->presence_store()->online([sessions, done](const base::Result<std::size_t>& users) {
                if (!users) return (*done)(users.error());
                (*done)(UserTotals{*users, sessions});
              });
            });
      });
}

void ConnectionManager::presence(unsigned from, std::vector<base::SharedString> users,
                                 Answered<std::vector<PresenceInfo>> done) {
  if (node_ != 0) {
    return homes_[from]->ask_presence(
        users,
        [done = shared(std::move(done))](base::Result<std::vector<PresenceInfo>> found) { (*done)(std::move(found)); });
  }
  const auto asked = std::make_shared<const std::vector<base::SharedString>>(std::move(users));
  ask_homes(
      from,
      [this, asked](HomeShard& home) {
        std::vector<std::pair<std::size_t, PresenceInfo>> found;
        for (std::size_t i = 0; i < asked->size(); ++i) {
          if (home_index((*asked)[i]) == home.index()) found.emplace_back(i, home.presence((*asked)[i]));
        }
        return found;
      },
      [asked,
       done = shared(std::move(done))](const std::vector<std::vector<std::pair<std::size_t, PresenceInfo>>>& parts) {
        std::vector<PresenceInfo> all(asked->size());
        for (const auto& part : parts) {
          for (const auto& [place, info] : part) all[place] = info;
        }
        (*done)(std::move(all));
      });
}

void ConnectionManager::sessions_of(unsigned from, const base::SharedString& user,
                                    Answered<std::vector<NamedSession>> done) {
  ask_home(
      from, user, [user](HomeShard& home) { return home.sessions_of(user); },
      [this, from, user, done = shared(std::move(done))](const std::vector<SessionInfo>& here) {
        auto named = std::make_shared<std::vector<NamedSession>>();
        for (const SessionInfo& session : here) named->push_back({session_text(session.id), session.status});
        if (node_ == 0) return (*done)(std::move(*named));
        HomeShard& home = *homes_[from];
        home.nodes_of(user, [&home, user, named, done](const std::vector<broker::NodeTag>& nodes) {
          home.ask_nodes(nodes, NodeQuestion::about(NodeAsk::kSessionsOf, user.view()),
                         [named, done](const std::vector<std::string>& answers) {
                           for (const std::string& answer : answers) decode_sessions(answer, *named);
                           (*done)(std::move(*named));
                         });
        });
      });
}

// ---------------------------------------------------------------------------------------------- sessions of other
// nodes

std::string ConnectionManager::session_text(SessionId id) const {
  std::string text = base::to_hex(id);
  if (node_ != 0) text.insert(0, base::to_hex(std::uint64_t{node_}).substr(8));
  return text;
}

std::optional<ConnectionManager::SessionName> ConnectionManager::parse_session_text(std::string_view text) {
  SessionName name;
  const auto parse = [](std::string_view digits, auto& value) {
    const char* const end = digits.data() + digits.size();
    const auto [at, failed] = std::from_chars(digits.data(), end, value, 16);
    return failed == std::errc{} && at == end && value != 0;
  };
  if (text.size() == 24) {
    if (!parse(text.substr(0, 8), name.node)) return std::nullopt;
    text.remove_prefix(8);
  }
  if (text.size() != 16 || !parse(text, name.id)) return std::nullopt;
  return name;
}

void ConnectionManager::call_elsewhere(unsigned from, const SessionName& session, std::string_view key,
                                       const std::vector<std::string_view>& texts,
                                       base::InlineFunction<void(CallAnswer), 64> done) {
  using Done = base::InlineFunction<void(CallAnswer), 64>;
  broker::NodeBus* bus = homes_[from]->backend().bus();
  const auto nodes = bus == nullptr ? std::vector<broker::NodeTag>{} : bus->others();
  if (std::find(nodes.begin(), nodes.end(), session.node) == nodes.end()) return done({.error = ErrorCode::kNotFound});
  bus->ask(session.node, NodeQuestion::commands(session.id, key, texts),
           [done = std::make_unique<Done>(std::move(done))](const base::Result<std::string>& answer) {
             if (!answer) return (*done)({.error = ErrorCode::kBrokerUnavailable});
             base::WireReader in(*answer);
             const std::uint64_t code = in.number();
             CallAnswer call;
             if (code != 0) call.error = static_cast<ErrorCode>(code - 1);
             const std::uint64_t count = in.number();
             for (std::uint64_t i = 0; in.ok() && i < count && i < SessionShard::kCallMax; ++i) {
               call.answers.emplace_back(in.text());
             }
             if (!in.ok() || code > protocol::kErrorCount) call.error = ErrorCode::kInternal;
             (*done)(std::move(call));
           });
}

void ConnectionManager::retire_elsewhere(unsigned from, const base::SharedString& user, SessionId session,
                                         std::uint64_t key_tag) {
  if (node_ == 0) return;
  HomeShard& home = *homes_[from];
  home.nodes_of(user, [&home, session, key_tag](const std::vector<broker::NodeTag>& nodes) {
    for (const broker::NodeTag node : nodes) home.backend().bus()->tell(node, NodeQuestion::retire(session, key_tag));
  });
}

/// What another node asks or tells; on shard 0.
void ConnectionManager::answer_node(std::string_view question, broker::NodeBus::Answer answer) {
  base::WireReader in(question);
  const auto what = static_cast<NodeAsk>(in.number());
  const auto then = std::make_shared<broker::NodeBus::Answer>(std::move(answer));
  const auto say = [then](std::string text) {
    if (*then) (*then)(std::move(text));
  };
  const auto say_count = [say](const base::Result<std::size_t>& count) { say(encode_number(count ? *count : 0)); };
  switch (what) {
    case NodeAsk::kOrder: {
      const base::SharedString user(in.text());
      const std::uint64_t order = in.number();
      const base::SharedString room(in.text());
      if (!in.ok() || order > static_cast<std::uint64_t>(SessionOrder::What::kDisconnect)) return say({});
      auto tally = std::make_shared<Tally>();
      tally->done = say_count;
      return post_home(user, [user, tally, order = SessionOrder{static_cast<SessionOrder::What>(order), room}](
                                 HomeShard& home) { home.order(user, order, tally); });
    }
    case NodeAsk::kSessionsOf: {
      const base::SharedString user(in.text());
      return ask_home(
          0, user, [user](HomeShard& home) { return home.sessions_of(user); },
          [this, say](const std::vector<SessionInfo>& sessions) {
            std::vector<NamedSession> named;
            for (const SessionInfo& session : sessions) named.push_back({session_text(session.id), session.status});
            say(encode_sessions(named));
          });
    }
    case NodeAsk::kSignal: {
      const base::SharedString user(in.text());
      const SessionId session = in.number();
      const auto event = std::make_shared<const std::string>(in.text());
      if (!in.ok()) return say({});
      return ask_home(
          0, user, [user, session, event](HomeShard& home) { return home.signal_here(user, session, event); },
          [say](std::size_t reached) { say(encode_number(reached)); });
    }
    case NodeAsk::kBroadcast:
      return broadcast_here(0, std::string(in.text()), say_count);
    case NodeAsk::kRemoveAll: {
      const base::SharedString room(in.text());
      auto tally = std::make_shared<Tally>();
      tally->done = say_count;
      return post_home(room, [room, tally](HomeShard& home) { home.remove_all(room, tally); });
    }
    case NodeAsk::kRooms: {
      const std::string prefix(in.text());
      const PageRequest page{std::string(in.text()), static_cast<std::size_t>(in.number())};
      if (!in.ok()) return say({});
      return ask_homes(
          0, [page, prefix](HomeShard& home) { return home.rooms(prefix, page); },
          [say, limit = page.limit](std::vector<IdPage<RoomInfo>> pages) {
            say(encode_rooms(merge(std::move(pages), limit)));
          });
    }
    case NodeAsk::kRoomSessions: {
      const base::SharedString room(in.text());
      return ask_home(
          0, room, [room](HomeShard& home) { return home.sessions_in(room); },
          [say](std::size_t sessions) { say(encode_number(sessions)); });
    }
    case NodeAsk::kUsers: {
      const PageRequest page{std::string(in.text()), static_cast<std::size_t>(in.number())};
      if (!in.ok()) return say({});
      return ask_homes(
          0, [page](HomeShard& home) { return home.users(page); },
          [say, limit = page.limit](std::vector<IdPage<UserInfo>> pages) {
            say(encode_users(merge(std::move(pages), limit)));
          });
    }
    case NodeAsk::kTotals:
      return ask_homes(
          0, [](HomeShard& home) { return home.user_totals().sessions; },
          [say](const std::vector<std::size_t>& sessions) {
            std::size_t sum = 0;
            for (const std::size_t each : sessions) sum += each;
            say(encode_number(sum));
          });
    case NodeAsk::kCommands: {
      struct Calling {
        SessionId session;
        std::vector<std::string> texts;
      };
      const SessionId id = in.number();
      const std::string_view key = in.text();
      const std::uint64_t count = in.number();
      auto calling = std::make_shared<Calling>(Calling{id, {}});
      for (std::uint64_t i = 0; in.ok() && i < count && i < SessionShard::kCallMax; ++i) {
        calling->texts.emplace_back(in.text());
      }
      const auto say_call = [say](std::optional<ErrorCode> error, const std::vector<std::string>& answers) {
        std::string text;
        base::WireWriter writer(text);
        writer.number(error ? static_cast<std::uint64_t>(*error) + 1 : 0).number(answers.size());
        for (const std::string& each : answers) writer.text(each);
        say(std::move(text));
      };
      const std::string right = session_key(id);
      if (!in.ok() || key.size() != right.size() || CRYPTO_memcmp(key.data(), right.data(), key.size()) != 0) {
        return say_call(ErrorCode::kForbidden, {});
      }
      if (shard_of(id) >= shards_.size()) return say_call(ErrorCode::kNotFound, {});
      return post_sessions(shard_of(id), [this, calling, say_call](SessionShard& side) {
        Session* session = side.find_session(calling->session);
        if (session == nullptr || !session->is_attached()) {
          return shards_[0].post([say_call] { say_call(ErrorCode::kNotFound, {}); });
        }
        const std::vector<std::string_view> texts(calling->texts.begin(), calling->texts.end());
        side.call(*session, texts, [this, calling, say_call](const std::vector<std::string>& answers) {
          shards_[0].post([say_call, kept = std::make_shared<std::vector<std::string>>(answers)] {
            say_call(std::nullopt, *kept);
          });
        });
      });
    }
    case NodeAsk::kRetire: {
      const SessionId id = in.number();
      const std::uint64_t key_tag = in.number();
      if (!in.ok() || shard_of(id) >= shards_.size() || session_key_tag(id) != key_tag) return;
      return post_sessions(shard_of(id), [id](SessionShard& side) { side.retire(id); });
    }
    case NodeAsk::kReceived: {
      const base::SharedString user(in.text());
      const std::uint64_t seq = in.number();
      if (!in.ok()) return;
      return post_home(user, [user, seq](HomeShard& home) { home.received(user, seq); });
    }
  }
  say({});
}

}  // namespace hubbub::hub
