#include "hubbub/broker/redis/subscription_link.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

namespace hubbub::broker::redis {

namespace {

constexpr std::int64_t kKeepaliveMs = 10'000;
constexpr std::size_t kChannelsPerCommand = 500;

}  // namespace

SubscriptionLink::SubscriptionLink(Context& context, Line::Kind kind, EndpointSource& source,
                                   SubscriptionLinkOwner& owner)
    : context_(context),
      owner_(owner),
      sharded_(kind == Line::Kind::kSubscriptions && context.options.topology == Topology::kCluster),
      line_(context, kind, source, *this),
      silence_timer_(context.io) {}

SubscriptionLink::~SubscriptionLink() = default;

void SubscriptionLink::subscribe(SubscriptionPtr subscription) {
  unsent_.push_back({Question::Kind::kSubscribe, std::move(subscription), {}});
  flush_soon();
}

void SubscriptionLink::unsubscribe(std::string_view channel) {
  unsent_.push_back({Question::Kind::kUnsubscribe, nullptr, std::string(channel)});
  flush_soon();
}

void SubscriptionLink::flush_soon() {
  if (flush_posted_) return;
  flush_posted_ = true;
  boost::asio::post(context_.io, life_.guard([this] {
    flush_posted_ = false;
    flush();
  }));
}

void SubscriptionLink::flush() {
  if (!line_.is_up() || unsent_.empty()) return;
  if (asked_.empty()) {
    asked_ms_ = now_ms();
    watch_silence_until(asked_ms_ + context_.options.wait_ms);
  }
  // Channels of several slots may not share a command.
  const std::size_t at_most = sharded_ ? 1 : kChannelsPerCommand;
  while (!unsent_.empty()) {
    const auto kind = unsent_.front().kind;
    std::size_t count = 1;
    while (count < unsent_.size() && count < at_most && unsent_[count].kind == kind) ++count;
    const std::string_view verb = kind == Question::Kind::kSubscribe ? "SUBSCRIBE" : "UNSUBSCRIBE";
    Command command(1 + count);
    command.add(sharded_ ? "S" + std::string(verb) : verb);
    unsent_.front().batch = static_cast<std::uint32_t>(count);
    for (; count != 0; --count) {
      Question& question = unsent_.front();
      command.add(kind == Question::Kind::kSubscribe ? std::string_view(question.subscription->channel)
                                                     : std::string_view(question.channel));
      asked_.push_back(std::move(question));
      unsent_.pop_front();
    }
    line_.out() += command.bytes();
  }
  line_.start_write();
}

// HOT PATH
void SubscriptionLink::on_reply(Reply&& reply) {
  heard_ms_ = now_ms();
  const std::string_view type = reply[0].text();
  if (type == "message" || type == "smessage") return owner_.on_message(*this, reply[1].text(), reply[2].text());
  if (reply.kind() == Reply::Kind::kError) return on_error(reply);

  using Kind = Question::Kind;
  const std::string_view channel = reply[1].text();
  const auto* front = asked_.empty() ? nullptr : &asked_.front();
  const bool revoked = type == "unsubscribe" || type == "sunsubscribe";
  if (revoked && (front == nullptr || front->kind != Kind::kUnsubscribe || front->channel != channel)) {
    return owner_.on_revoked(*this, channel);
  }
  if (front == nullptr) return disorder();
  bool expected = revoked;
  if (front->kind == Kind::kPing) {
    expected = type == "pong" || reply.text() == "PONG";
  } else if (front->kind == Kind::kSubscribe) {
    expected = (type == "subscribe" || type == "ssubscribe") && channel == front->subscription->channel;
  }
  if (!expected) return disorder();
  const Question question = std::move(asked_.front());
  asked_.pop_front();
  asked_ms_ = heard_ms_;
  if (question.kind == Kind::kSubscribe) owner_.on_confirmed(*this, question.subscription);
}

void SubscriptionLink::on_error(const Reply& reply) {
  if (asked_.empty()) return disorder();
  asked_ms_ = heard_ms_;
  std::vector<Question> refused;
  for (std::size_t left = asked_.front().batch; left != 0 && !asked_.empty(); --left) {
    refused.push_back(std::move(asked_.front()));
    asked_.pop_front();
  }
  if (refused.front().kind != Question::Kind::kSubscribe) return;
  if (refused.size() > 1) {
    // One of them may have spoiled it for the others: each by itself.
    for (Question& question : refused) {
      const Command command = std::move(Command(2).add("SUBSCRIBE").add(question.subscription->channel));
      line_.out() += command.bytes();
      question.batch = 1;
      asked_.push_back(std::move(question));
    }
    return line_.start_write();
  }
  if (context_.log.may_log(error_code_of(reply.text()))) {
    spdlog::error("Redis answered to a subscription: {}", reply.text().substr(0, 300));
  }
  owner_.on_refused(*this, refused.front().subscription, reply);
}

void SubscriptionLink::disorder() { line_.drop("an answer to no question"); }

void SubscriptionLink::on_up() {
  unsent_.clear();
  asked_.clear();
  heard_ms_ = now_ms();
  watch_silence();
  owner_.on_link_up(*this);
}

void SubscriptionLink::on_down() {
  unsent_.clear();
  asked_.clear();
  silence_timer_.cancel();
  armed_ms_ = 0;
  owner_.on_link_down(*this);
}

// A server that says nothing is asked for a sign of life; one that owes an answer too long is taken for dead.
void SubscriptionLink::watch_silence() {
  const auto now = now_ms();
  if (!asked_.empty() && now - asked_ms_ >= context_.options.wait_ms) {
    return line_.drop("it has not answered for " + std::to_string(now - asked_ms_) + " ms");
  }
  if (asked_.empty() && now - heard_ms_ >= kKeepaliveMs) {
    asked_ms_ = now;
    asked_.push_back({Question::Kind::kPing, nullptr, {}});
    line_.out() += "*1\r\n$4\r\nPING\r\n";
    line_.start_write();
  }
  const std::int64_t next = asked_.empty() ? heard_ms_ + kKeepaliveMs : asked_ms_ + context_.options.wait_ms;
  watch_silence_until(std::max(next, now + 100));
}

void SubscriptionLink::watch_silence_until(std::int64_t when_ms) {
  if (armed_ms_ != 0 && armed_ms_ <= when_ms) return;
  armed_ms_ = when_ms;
  silence_timer_.expires_at(boost::asio::steady_timer::time_point(std::chrono::milliseconds(when_ms)));
  silence_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (error) return;
    armed_ms_ = 0;
    if (line_.is_up()) watch_silence();
  }));
}

}  // namespace hubbub::broker::redis
