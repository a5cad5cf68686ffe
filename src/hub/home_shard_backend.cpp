#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <utility>

#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/session_shard.hpp"

// What backends ask of the rooms and users of one shard.
namespace hubbub::hub {

using broker::StreamKey;
using broker::StreamKind;
using protocol::ErrorCode;

namespace {

/// The `limit` smallest ids after `after`, of any number that come in any order: it holds no more than it gives, and
/// sorts only that.
class Smallest {
 public:
  explicit Smallest(const PageRequest& page) : page_(page) {}

  /// Whether it is worth offering.
  bool wants(std::string_view id) const {
    return id > page_.after && (heap_.size() <= page_.limit || id < heap_.front().view());
  }
  void offer(const base::SharedString& id) {
    if (!wants(id.view())) return;
    heap_.push_back(id);
    std::push_heap(heap_.begin(), heap_.end(), before);
    if (heap_.size() <= page_.limit + 1) return;
    std::pop_heap(heap_.begin(), heap_.end(), before);
    heap_.pop_back();
  }
  /// Ascending; sets `more` when there were others.
  std::vector<base::SharedString> take(bool& more) {
    std::sort_heap(heap_.begin(), heap_.end(), before);
    more = heap_.size() > page_.limit;
    if (more) heap_.pop_back();
    return std::move(heap_);
  }

 private:
  static bool before(const base::SharedString& a, const base::SharedString& b) { return a.view() < b.view(); }

  const PageRequest& page_;
  std::vector<base::SharedString> heap_;  // one more than the page: it tells whether there is more
};

}  // namespace

// HOT PATH
void HomeShard::publish(const std::shared_ptr<PublishPart>& part) {
  part->results.resize(part->items.size());
  part->waiting = part->items.size() + 1;  // itself: nothing is done before all have been asked
  for (std::size_t i = 0; i < part->items.size(); ++i) publish_item(part, i);
  finish_item(part);
}

void HomeShard::publish_item(const std::shared_ptr<PublishPart>& part, std::size_t index) {
  BackendPublish& item = part->items[index];
  DeliveryReports::Waiter* waiter = nullptr;
  const User* user = item.stream.kind == StreamKind::kInbox ? find_user(item.stream.id) : nullptr;
  const bool there = (user != nullptr && !user->sessions.empty()) ||
                     (presence_ != nullptr && item.stream.kind == StreamKind::kInbox);  // or perhaps elsewhere
  if (item.ack_within_ms && item.publication.keep && there) {
    waiter = reports_.open(item.stream.id);
    if (waiter == nullptr) {
      part->results[index].error = ErrorCode::kOverloaded;
      return finish_item(part);
    }
    if (broker::NodeBus* bus = backend_->bus()) {
      item.publication.report = static_cast<std::uint64_t>(bus->self()) << 32 |
                                std::min<std::uint64_t>(static_cast<std::uint64_t>(*item.ack_within_ms), 0xffffffff);
    }
  }
  broker_->publish(item.stream, std::move(item.publication),
                   [this, part, index, waiter](const base::Result<broker::Published>& published) {
                     published_item(part, index, waiter, published);
                   });
}

void HomeShard::published_item(const std::shared_ptr<PublishPart>& part, std::size_t index,
                               DeliveryReports::Waiter* waiter, const base::Result<broker::Published>& published) {
  const BackendPublish& item = part->items[index];
  BackendPublished& result = part->results[index];
  if (!published) {
    result.error = ErrorCode::kBrokerUnavailable;
    if (waiter != nullptr) reports_.cancel(waiter);
    return finish_item(part);
  }
  result.published = *published;
  if (item.stream.kind == StreamKind::kRoom) {
    if (const Room* room = find_room(item.stream.id)) result.sessions = room->sessions;
    return finish_item(part);
  }
  if (presence_ == nullptr) {
    const User* user = find_user(item.stream.id);
    return reached_item(part, index, waiter, user == nullptr ? 0 : user->sessions.size());
  }
  count_sessions(item.stream.id,
                 [this, part, index, waiter](std::size_t sessions) { reached_item(part, index, waiter, sessions); });
}

void HomeShard::reached_item(const std::shared_ptr<PublishPart>& part, std::size_t index,
                             DeliveryReports::Waiter* waiter, std::size_t sessions) {
  const BackendPublish& item = part->items[index];
  BackendPublished& result = part->results[index];
  result.sessions = sessions;
  if (sessions != 0) result.delivery = Delivery::kReached;
  if (waiter == nullptr) return finish_item(part);
  if (result.sessions == 0) {
    reports_.cancel(waiter);
    return finish_item(part);
  }
  reports_.wait(waiter, result.published.position.seq, *item.ack_within_ms, [this, part, index](bool acked) {
    if (acked) part->results[index].delivery = Delivery::kAcked;
    finish_item(part);
  });
}

void HomeShard::finish_item(const std::shared_ptr<PublishPart>& part) {
  if (--part->waiting != 0) return;
  manager_.shards()[part->from].post([part] {
    PublishGather& gather = *part->gather;
    for (std::size_t i = 0; i < part->places.size(); ++i) gather.results[part->places[i]] = part->results[i];
    if (--gather.waiting == 0) gather.done(gather.results);
  });
}

// -------------------------------------------------------------------------------------------------------------- rooms

IdPage<RoomInfo> HomeShard::rooms(std::string_view prefix, const PageRequest& request) const {
  Smallest smallest(request);
  for (const auto& room : rooms_) {
    if (room->sessions != 0 && room->id.view().starts_with(prefix)) smallest.offer(room->id);
  }
  IdPage<RoomInfo> page;
  for (const base::SharedString& id : smallest.take(page.more)) {
    const Room& room = *find_room(id);
    page.items.push_back({id, room.users.size(), room.sessions, room.position});
  }
  return page;
}

void HomeShard::room(const base::SharedString& id, RoomDone done) {
  if (const Room* room = find_room(id); room != nullptr && room->sessions != 0) {
    return done(std::optional(RoomInfo{id, room->users.size(), room->sessions, room->position}));
  }
  broker_->read(StreamKey{StreamKind::kRoom, id}, {.limit = 0},
                [id, done = std::make_unique<RoomDone>(std::move(done))](const base::Result<broker::Page>& page) {
                  if (!page) return (*done)(page.error());
                  if (page->first_seq > page->head_seq) return (*done)(std::optional<RoomInfo>{});
                  (*done)(std::optional(RoomInfo{id, 0, 0, {page->epoch, page->head_seq}}));
                });
}

RoomMembers HomeShard::members(const base::SharedString& id, const PageRequest& request) const {
  RoomMembers members;
  const Room* room = find_room(id);
  if (room == nullptr) return members;
  members.count = room->users.size();
  Smallest smallest(request);
  room->users.for_some(members.count, [&](const base::SharedString& user) { smallest.offer(user); });
  members.users = smallest.take(members.more);
  return members;
}

std::vector<base::SharedString> HomeShard::typing_users(const base::SharedString& id) const {
  std::vector<base::SharedString> users;
  const Room* room = find_room(id);
  if (room == nullptr || !room->extras) return users;
  for (const auto& entry : room->extras->typing) users.push_back(entry->user);
  return users;
}

void HomeShard::read(const StreamKey& stream, const broker::ReadRange& range, broker::Broker::ReadDone done) {
  broker_->read(stream, range, std::move(done));
}

void HomeShard::erase_room(const base::SharedString& id, std::shared_ptr<Tally> tally) {
  const StreamKey key{StreamKind::kRoom, id};
  broker_->erase(key, [this, id, tally = std::move(tally)](const base::Result<broker::Position>& position) {
    runtime::Shard& asker = manager_.shards()[tally->from];
    if (!position) return asker.post([tally, error = position.error()] { tally->done(error); });
    if (Room* room = find_room(id)) room->position = *position;
    remove_all(id, tally);
  });
}

void HomeShard::remove_all(const base::SharedString& id, const std::shared_ptr<Tally>& tally) {
  runtime::Shard& asker = manager_.shards()[tally->from];
  const Room* room = find_room(id);
  if (room == nullptr || room->shards.empty()) return asker.post([tally] { tally->add(0, 1); });
  std::size_t parts = 0;
  room->shards.for_each([&](unsigned) { ++parts; });
  // They leave one by one, each with its detach, so that whoever comes meanwhile is counted right.
  room->shards.for_each([&](unsigned index) {
    manager_.post_sessions(index, [&asker, id, tally, parts](SessionShard& side) {
      const std::size_t count = side.remove_all(id);
      asker.post([tally, count, parts] { tally->add(count, parts); });
    });
  });
}

// -------------------------------------------------------------------------------------------------------------- users

IdPage<UserInfo> HomeShard::users(const PageRequest& request) const {
  Smallest smallest(request);
  for (const auto& user : users_) {
    if (!user->sessions.empty()) smallest.offer(user->id);
  }
  IdPage<UserInfo> page;
  for (const base::SharedString& id : smallest.take(page.more)) {
    const User& user = *find_user(id);
    page.items.push_back({id, user.best(), user.sessions.size()});
  }
  return page;
}

PresenceInfo HomeShard::presence(const base::SharedString& id) const {
  PresenceInfo info{.user = id};
  const User* user = find_user(id);
  if (user != nullptr && !user->sessions.empty()) {
    info.status = user->best();
    info.last_seen_ms = shard_.unix_ms();
  } else if (const auto seen = last_seen_.find(id); seen != last_seen_.end()) {
    info.last_seen_ms = seen->second.unix_ms;
  }
  return info;
}

std::size_t HomeShard::sessions_in(const base::SharedString& id) const {
  const Room* room = find_room(id);
  return room == nullptr ? 0 : room->sessions;
}

std::vector<SessionInfo> HomeShard::sessions_of(const base::SharedString& id) const {
  std::vector<SessionInfo> sessions;
  const User* user = find_user(id);
  if (user == nullptr) return sessions;
  for (const UserSession& session : user->sessions) sessions.push_back({session.id, session.status});
  return sessions;
}

void HomeShard::order(const base::SharedString& id, const SessionOrder& order,
                      const std::shared_ptr<Tally>& tally) const {
  runtime::Shard& asker = manager_.shards()[tally->from];
  boost::container::small_vector<std::pair<unsigned, std::vector<SessionId>>, 4> by_shard;
  if (const User* user = find_user(id)) {
    for (const UserSession& session : user->sessions) {
      const unsigned index = shard_of(session.id);
      const auto known =
          std::find_if(by_shard.begin(), by_shard.end(), [&](const auto& entry) { return entry.first == index; });
      auto& sessions = known == by_shard.end() ? by_shard.emplace_back(index, std::vector<SessionId>{}) : *known;
      sessions.second.push_back(session.id);
    }
  }
  if (by_shard.empty()) return asker.post([tally] { tally->add(0, 1); });
  for (auto& [index, sessions] : by_shard) {
    manager_.post_sessions(
        index, [&asker, order, tally, sessions = std::move(sessions), parts = by_shard.size()](SessionShard& side) {
          const std::size_t count = side.carry_out(order, sessions);
          asker.post([tally, count, parts] { tally->add(count, parts); });
        });
  }
}

}  // namespace hubbub::hub
