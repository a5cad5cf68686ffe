#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hubbub/hub/backend_requests.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/protocol/event.hpp"
#include "support/hub_fixture.hpp"

namespace hubbub::test {

/// An answer that comes when the shards have turned. A copy is the same answer.
template <class T>
class Answer {
 public:
  void give(T value) {
    ++*times_;
    *value_ = std::move(value);
  }
  bool has_come() const { return value_->has_value(); }
  std::size_t times() const { return *times_; }
  const T& operator*() const { return value_->value(); }
  const T* operator->() const { return &value_->value(); }

 private:
  std::shared_ptr<std::optional<T>> value_ = std::make_shared<std::optional<T>>();
  std::shared_ptr<std::size_t> times_ = std::make_shared<std::size_t>(0);
};

inline hub::BackendPublish to_room(std::string_view room, const Json& content) {
  hub::BackendPublish item{{broker::StreamKind::kRoom, base::SharedString(room)}, {}};
  item.publication.type = "message";
  const std::string text = content.dump();
  protocol::append_message_body(item.publication.body, {.room_id = room, .from = "shop", .content = text});
  return item;
}

inline hub::BackendPublish to_user(std::string_view user, const Json& content,
                                   std::optional<std::int64_t> ack_within_ms = {}) {
  hub::BackendPublish item{{broker::StreamKind::kInbox, base::SharedString(user)}, {}, ack_within_ms};
  item.publication.type = "direct_message";
  const std::string text = content.dump();
  protocol::append_direct_message_body(item.publication.body, {.from = "shop", .to_user = user, .content = text});
  return item;
}

/// One result in one line: `seq 3, 2 sessions`.
inline std::string brief(const hub::BackendPublished& result) {
  if (result.error) return std::string(protocol::error_info(*result.error).code);
  static constexpr const char* kDeliveries[] = {"offline", "reached", "acked"};
  return "seq " + std::to_string(result.published.position.seq) + ", " + std::to_string(result.sessions) +
         (result.sessions == 1 ? " session, " : " sessions, ") +
         kDeliveries[static_cast<std::size_t>(result.delivery)] + (result.published.duplicate ? ", duplicate" : "");
}

inline std::vector<std::string> brief(const std::vector<hub::BackendPublished>& results) {
  std::vector<std::string> lines;
  for (const hub::BackendPublished& result : results) lines.push_back(brief(result));
  return lines;
}

using PublishAnswer = Answer<std::vector<hub::BackendPublished>>;
using CountAnswer = Answer<base::Result<std::size_t>>;

/// What the API asks of a hub, asked on shard `from`.
class Backend {
 public:
  explicit Backend(HubFixture& hub, unsigned from = 0) : hub_(hub), from_(from) {}

  PublishAnswer publish(std::vector<hub::BackendPublish> items) {
    PublishAnswer answer;
    auto asked = std::make_shared<std::vector<hub::BackendPublish>>(std::move(items));
    hub_.pool[from_].post([this, asked, answer] {
      hub_.manager.publish(
          from_, std::move(*asked),
          [answer](const std::vector<hub::BackendPublished>& results) mutable { answer.give(results); });
    });
    return answer;
  }
  CountAnswer order(std::string_view user, hub::SessionOrder order) {
    return counted([&](auto done) {
      hub_.manager.order_sessions(from_, base::SharedString(user), std::move(order), std::move(done));
    });
  }
  CountAnswer put(std::string_view room, std::string_view user) {
    return order(user, {hub::SessionOrder::What::kJoin, base::SharedString(room)});
  }
  CountAnswer take_out(std::string_view room, std::string_view user) {
    return order(user, {hub::SessionOrder::What::kLeave, base::SharedString(room)});
  }
  CountAnswer disconnect(std::string_view user) { return order(user, {hub::SessionOrder::What::kDisconnect}); }
  CountAnswer erase_room(std::string_view room) {
    return counted([&](auto done) { hub_.manager.erase_room(from_, base::SharedString(room), std::move(done)); });
  }
  CountAnswer broadcast(std::string_view text) {
    std::string json;
    protocol::append_event(json, protocol::BroadcastEvent{.from = "ops", .content = text});
    return counted([&](auto done) { hub_.manager.broadcast(from_, std::move(json), std::move(done)); });
  }
  /// What `ask(HomeShard&)` gives on the home shard of `id`.
  template <class Ask>
  auto ask(std::string_view id, Ask ask) {
    const base::SharedString shared(id);
    Answer<std::invoke_result_t<Ask&, hub::HomeShard&>> answer;
    hub_.manager.ask_home(from_, shared, std::move(ask),
                          [answer](auto&& value) mutable { answer.give(std::forward<decltype(value)>(value)); });
    hub_.settle();
    return answer;
  }

 private:
  template <class F>
  CountAnswer counted(F&& ask) {
    CountAnswer answer;
    ask([answer](base::Result<std::size_t> count) mutable { answer.give(count); });
    return answer;
  }

  HubFixture& hub_;
  const unsigned from_;
};

}  // namespace hubbub::test
