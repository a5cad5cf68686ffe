#include "hubbub/broker/redis/line.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace hubbub::broker::redis {

namespace {

// A connection that stood this long was a good one: the next begins with the shortest back-off.
constexpr std::int64_t kProvenMs = 2'000;
// Attempts that fail for the same outage are told at most this often.
constexpr std::int64_t kTellEveryMs = 10'000;

Greeting greeting_of(const Context& context, Line::Kind kind) {
  const bool of_master = context.options.topology == Topology::kSentinel;
  switch (kind) {
    case Line::Kind::kCommands:
      return Greeting::for_commands(context, of_master);
    case Line::Kind::kSubscriptions:
      return Greeting::for_subscriptions(context, of_master);
    case Line::Kind::kSentinel:
      break;
  }
  return Greeting::for_sentinel(context);
}

}  // namespace

Line::Line(Context& context, Kind kind, EndpointSource& source, LineOwner& owner)
    : context_(context),
      kind_(kind),
      source_(source),
      owner_(owner),
      timer_(context.io),
      backoff_(context.options.backoff_min_ms, context.options.backoff_max_ms),
      down_since_ms_(now_ms()) {}

Line::~Line() {
  if (connection_) connection_->close();
}

std::string Line::name() const {
  std::string name = kind_ == Kind::kCommands        ? "Redis "
                     : kind_ == Kind::kSubscriptions ? "Redis subscriptions at "
                                                     : "Redis Sentinel ";
  return name + (endpoint_ ? to_text(*endpoint_) : "(unknown)");
}

void Line::start() { attempt(); }

void Line::attempt() {
  waiting_ = false;
  finding_ = true;
  source_.find(life_.guard([this, search = ++search_](std::optional<Endpoint> endpoint) {
    if (search != search_ || !finding_) return;
    finding_ = false;
    if (endpoint) return connect(*endpoint);
    wait_and_attempt();
    owner_.on_attempt_failed();
  }));
}

void Line::connect(const Endpoint& endpoint) {
  endpoint_ = endpoint;
  connection_ = std::make_shared<Connection>(context_, endpoint, greeting_of(context_, kind_), events_);
  connection_->open();
}

void Line::opened() {
  up_ = true;
  up_since_ms_ = now_ms();
  const auto away_ms = up_since_ms_ - down_since_ms_;
  down_since_ms_ = 0;
  told_ms_ = 0;
  if (std::exchange(was_up_once_, true)) {
    ++context_.usage.reconnects;
    spdlog::info("{} is back after {} ms", name(), away_ms);
  }
  owner_.on_up();
}

void Line::closed(std::string_view why, bool denied) {
  const auto now = now_ms();
  connection_.reset();
  const bool was_up = std::exchange(up_, false);
  if (was_up) {
    down_since_ms_ = now;
    if (now - up_since_ms_ >= kProvenMs) backoff_.reset();
  }
  if (denied) {
    spdlog::error("{} does not let us in: {}", name(), why);
  } else if (was_up ? context_.log.may_log("lost") : told_ms_ == 0 || now - told_ms_ >= kTellEveryMs) {
    told_ms_ = now;
    spdlog::warn("{}: {}", name(), why);
  }
  wait_and_attempt();
  if (was_up) {
    owner_.on_down();
  } else {
    owner_.on_attempt_failed();
  }
}

void Line::wait_and_attempt() {
  waiting_ = true;
  timer_.expires_after(std::chrono::milliseconds(backoff_.next_ms()));
  timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (!error && waiting_) attempt();
  }));
}

void Line::drop(std::string_view why) {
  if (finding_) return attempt();  // what is being found may be what is to be left
  if (!connection_) return;
  connection_->close();
  closed(why, false);
}

void Line::hurry() {
  if (!waiting_) return;
  timer_.cancel();
  waiting_ = false;
  backoff_.reset();
  attempt();
}

}  // namespace hubbub::broker::redis
