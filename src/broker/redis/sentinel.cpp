#include "hubbub/broker/redis/sentinel.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace hubbub::broker::redis {

namespace {

constexpr std::string_view kNews = "+switch-master";
constexpr std::int64_t kBelievedMs = 5'000;

std::optional<Endpoint> endpoint_of(std::string_view host, std::string_view port) {
  unsigned number = 0;
  for (const char c : port) {
    if (c < '0' || c > '9' || port.size() > 5) return std::nullopt;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  if (host.empty() || number == 0 || number > 65'535) return std::nullopt;
  return Endpoint{std::string(host), static_cast<std::uint16_t>(number)};
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const auto space = std::min(text.find(' '), text.size());
    words.push_back(text.substr(0, space));
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return words;
}

}  // namespace

SentinelMaster::SentinelMaster(Context& context, std::function<void(const Endpoint&)> on_change)
    : context_(context),
      on_change_(std::move(on_change)),
      rotation_(context.options.endpoints),
      watch_(context, Line::Kind::kSentinel, rotation_, *this) {}

void SentinelMaster::find(Found found) {
  if (announced_ && now_ms() - announced_ms_ < kBelievedMs) return found(*announced_);
  finders_.push_back(std::move(found));
  if (!inquiry_) ask();
}

void SentinelMaster::ask() {
  std::vector<Endpoint> sentinels = context_.options.endpoints;
  std::rotate(sentinels.begin(), sentinels.begin() + static_cast<std::ptrdiff_t>(first_), sentinels.end());
  answer_.reset();
  const auto accept = [this](const Reply& reply, const Endpoint& asked) {
    answer_ = endpoint_of(reply[0].text(), reply[1].text());
    if (!answer_) {
      if (context_.log.may_log("sentinel")) {
        spdlog::warn("Redis Sentinel {} knows no master \"{}\" {}", to_text(asked), context_.options.sentinel_master,
                     reply.text().substr(0, 200));
      }
      return false;
    }
    const auto& all = context_.options.endpoints;
    first_ = static_cast<std::size_t>(std::find(all.begin(), all.end(), asked) - all.begin()) % all.size();
    return true;
  };
  const auto done = [this](bool accepted) {
    auto finders = std::exchange(finders_, {});
    const auto answer = accepted ? answer_ : std::nullopt;
    const auto alive = life_.watch();
    const auto ended = std::move(inquiry_);  // whose call this is
    for (Found& found : finders) {
      found(answer);
      if (alive.expired()) return;
    }
  };
  const Command question =
      std::move(Command(3).add("SENTINEL").add("get-master-addr-by-name").add(context_.options.sentinel_master));
  inquiry_ = std::make_unique<Inquiry>(context_, Greeting::for_sentinel(context_), std::move(sentinels), question,
                                       accept, done);
  inquiry_->start();
}

void SentinelMaster::on_link_up(SubscriptionLink& link) {
  auto subscription = std::make_shared<Subscription>();
  subscription->channel = kNews;
  link.subscribe(std::move(subscription));
}

void SentinelMaster::on_confirmed(SubscriptionLink&, const SubscriptionPtr&) {
  // The first time nothing was missed: who looks for the master asks. Later news may have been.
  if (!std::exchange(missed_news_, true)) return;
  find(life_.guard([this](std::optional<Endpoint> master) {
    if (master) on_change_(*master);
  }));
}

void SentinelMaster::on_message(SubscriptionLink&, std::string_view, std::string_view payload) {
  const auto words = words_of(payload);  // name, old host and port, new host and port
  if (words.size() < 5 || words[0] != context_.options.sentinel_master) return;
  const auto master = endpoint_of(words[3], words[4]);
  if (!master) return;
  spdlog::warn("Redis Sentinel: {} is master of \"{}\" now", to_text(*master), words[0]);
  announced_ = master;
  announced_ms_ = now_ms();
  on_change_(*master);
}

SentinelServer::SentinelServer(Context& context, ClientSink& sink)
    : subscriptions_(context, sink, *this),
      master_(context, [this](const Endpoint& master) { on_master(master); }),
      commands_(context, master_, *this),
      link_(context, Line::Kind::kSubscriptions, master_, subscriptions_) {}

void SentinelServer::start() {
  master_.start();
  commands_.start();
  link_.start();
}

void SentinelServer::on_master(const Endpoint& master) {
  for (Line* const line : {&commands_.line(), &link_.line()}) {
    if (line->endpoint() != master) line->drop("another is master");
    line->hurry();
  }
}

}  // namespace hubbub::broker::redis
