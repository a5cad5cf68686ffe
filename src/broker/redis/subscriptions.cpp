#include "hubbub/broker/redis/subscriptions.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "hubbub/broker/redis/errors.hpp"

namespace hubbub::broker::redis {

Subscriptions::Subscriptions(Context& context, ClientSink& sink, SubscriptionRouter& router)
    : context_(context), sink_(sink), router_(router), timer_(context.io) {}

Subscriptions::~Subscriptions() = default;

void Subscriptions::subscribe(std::string_view channel, Client::SubscribeDone done) {
  unsubscribe(channel);
  auto subscription = std::make_shared<Subscription>();
  subscription->channel = channel;
  subscription->done = std::move(done);
  subscription->deadline_ms = now_ms() + context_.options.wait_ms;
  by_channel_.emplace(subscription->channel, subscription);
  waiting_.push_back(subscription);
  arm();
  place(subscription);
}

void Subscriptions::unsubscribe(std::string_view channel) {
  const auto it = by_channel_.find(channel);
  if (it == by_channel_.end()) return;
  const SubscriptionPtr subscription = it->second;
  by_channel_.erase(it);
  subscription->wanted = subscription->stands = false;
  if (subscription->link != nullptr) std::exchange(subscription->link, nullptr)->unsubscribe(subscription->channel);
  if (!subscription->done) return;
  boost::asio::post(context_.io, life_.guard([done = std::move(subscription->done)]() mutable {
    done(make_error_code(RedisError::kAborted));
  }));
}

/// Asks for it where it belongs, if one knows and can.
void Subscriptions::place(const SubscriptionPtr& subscription) {
  SubscriptionLink* const link = router_.link_of(subscription->channel);
  if (link == nullptr || link == subscription->link) return;
  subscription->stands = false;
  if (subscription->link != nullptr) std::exchange(subscription->link, nullptr)->unsubscribe(subscription->channel);
  if (!link->is_up()) return;
  subscription->link = link;
  link->subscribe(subscription);
}

void Subscriptions::settle_down() {
  for (const auto& [channel, subscription] : by_channel_) place(subscription);
}

void Subscriptions::forget(SubscriptionLink& link) {
  for (const auto& [channel, subscription] : by_channel_) {
    if (subscription->link != &link) continue;
    subscription->link = nullptr;
    subscription->stands = false;
  }
}

void Subscriptions::on_link_up(SubscriptionLink&) { settle_down(); }

void Subscriptions::on_confirmed(SubscriptionLink& link, const SubscriptionPtr& subscription) {
  if (!subscription->wanted || subscription->link != &link) return;
  subscription->stands = true;
  if (std::exchange(subscription->stood, true)) return sink_.on_resubscribed(subscription->channel);
  auto done = std::move(subscription->done);
  if (done) done(base::Result<void>());
}

void Subscriptions::on_refused(SubscriptionLink& link, const SubscriptionPtr& subscription, const Reply& error) {
  if (!subscription->wanted || subscription->link != &link) return;
  subscription->link = nullptr;
  const auto code = error_code_of(error.text());
  const bool elsewhere = code == "MOVED" || code == "ASK" || code == "CLUSTERDOWN" || code == "TRYAGAIN";
  if (elsewhere) return router_.on_misrouted(subscription->channel, error.text());
  if (!subscription->stood) return end(subscription, make_error_code(RedisError::kServer));
  // It stood before and is refused now: whoever relies on it is not told of its end, so go on asking.
  link.line().drop("it refuses a channel that it gave before");
}

void Subscriptions::on_revoked(SubscriptionLink& link, std::string_view channel) {
  const auto it = by_channel_.find(channel);
  if (it == by_channel_.end() || it->second->link != &link || !it->second->stands) return;
  it->second->link = nullptr;
  it->second->stands = false;
  router_.on_misrouted(channel, {});
}

// HOT PATH
void Subscriptions::on_message(SubscriptionLink& link, std::string_view channel, std::string_view payload) {
  const auto it = by_channel_.find(channel);
  if (it != by_channel_.end() && it->second->stands && it->second->link == &link) sink_.on_message(channel, payload);
}

void Subscriptions::end(const SubscriptionPtr& subscription, base::error_code why) {
  if (subscription->link != nullptr) std::exchange(subscription->link, nullptr)->unsubscribe(subscription->channel);
  subscription->wanted = subscription->stands = false;
  by_channel_.erase(subscription->channel);
  ++context_.usage.failed;
  auto done = std::move(subscription->done);
  if (done) done(why);
}

void Subscriptions::arm() {
  while (!waiting_.empty()) {
    const auto first = waiting_.front().lock();
    if (first && first->done) break;
    waiting_.pop_front();
  }
  if (armed_ || waiting_.empty()) return;
  const auto first = waiting_.front().lock();
  armed_ = true;
  timer_.expires_at(boost::asio::steady_timer::time_point(std::chrono::milliseconds(first->deadline_ms)));
  timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (error) return;
    armed_ = false;
    expire();
  }));
}

void Subscriptions::expire() {
  const auto now = now_ms();
  const auto alive = life_.watch();
  while (!waiting_.empty()) {
    const auto first = waiting_.front().lock();
    if (first && first->done) {
      if (first->deadline_ms > now) break;
      waiting_.pop_front();
      end(first, make_error_code(RedisError::kUnavailable));
      if (alive.expired()) return;
    } else {
      waiting_.pop_front();
    }
  }
  arm();
}

}  // namespace hubbub::broker::redis
