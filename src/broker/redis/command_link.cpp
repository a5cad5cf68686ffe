#include "hubbub/broker/redis/command_link.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/errors.hpp"

namespace hubbub::broker::redis {

namespace {

constexpr std::size_t kWriteBytes = 512UL * 1024;  // handed to the connection at a time
constexpr std::int64_t kExpireEveryMs = 20;        // looking for late commands looks at all of them
constexpr std::int64_t kStalledMs = 1'500;
constexpr std::int64_t kMomentMs = 1'000;
constexpr std::string_view kAsking = "*1\r\n$6\r\nASKING\r\n";

bool is_not_now(std::string_view code) {
  return code == "LOADING" || code == "MASTERDOWN" || code == "READONLY" || code == "CLUSTERDOWN" ||
         code == "TRYAGAIN" || code == "UNBLOCKED" || code == "MOVED" || code == "ASK";
}

}  // namespace

void settle(Context& context, PendingCommand& command, base::Result<Reply> result) {
  context.usage.queued_bytes -= command.bytes.size();
  if (!result) ++context.usage.failed;
  command.bytes = {};
  // Its place is left empty before it is called: it may end the client.
  auto done = std::move(command.done);
  done(std::move(result));
}

CommandLink::CommandLink(Context& context, EndpointSource& source, CommandLinkOwner& owner)
    : context_(context),
      owner_(owner),
      watches_stalls_(context.options.topology == Topology::kCluster),
      line_(context, Line::Kind::kCommands, source, *this),
      hold_timer_(context.io),
      deadline_timer_(context.io) {}

CommandLink::~CommandLink() = default;

bool CommandLink::is_ready() const {
  if (failing_) return false;
  return line_.is_up() || (line_.endpoint() && now_ms() - line_.down_since_ms() <= kMomentMs);
}

// HOT PATH
void CommandLink::push(PendingCommand&& command) {
  arm(watches_stalls_ ? std::min(command.deadline_ms, command.deadline_ms - context_.options.wait_ms + kStalledMs)
                      : command.deadline_ms);
  pending_.push_back(std::move(command));
  if (line_.is_up() && !held_) flush_soon();
}

void CommandLink::flush_soon() {
  if (flush_posted_) return;
  flush_posted_ = true;
  boost::asio::post(context_.io, life_.guard([this] {
    flush_posted_ = false;
    flush();
  }));
}

// HOT PATH: all that came since the last flush leaves with one write.
void CommandLink::flush() {
  if (!line_.is_up() || held_ || sent_ == pending_.size()) return;
  std::string& out = line_.out();
  if (sent_ == 0) progress_ms_ = now_ms();
  while (sent_ < pending_.size() && out.size() < kWriteBytes) {
    PendingCommand& command = pending_[sent_++];
    if (command.asking) out += kAsking;
    command.owed = command.asking ? 2 : 1;
    out += command.bytes;
  }
  line_.start_write();
}

// HOT PATH
void CommandLink::on_reply(Reply&& reply) {
  progress_ms_ = now_ms();
  if (sent_ == 0) return line_.drop("an answer to no question");
  if (--pending_.front().owed != 0) return;  // to ASKING
  PendingCommand command = std::move(pending_.front());
  pending_.pop_front();
  --sent_;
  const auto alive = life_.watch();
  const std::uint16_t slot = command.slot;
  if (reply.kind() != Reply::Kind::kError) {
    failing_ = false;
    hold_backoff_.reset();
    if (!command.is_answered()) settle(context_, command, std::move(reply));
  } else if (turned_away(command, reply)) {
    return;
  } else if (!command.is_answered()) {
    failing_ = false;
    const auto code = error_code_of(reply.text());
    if (context_.log.may_log(code)) spdlog::error("Redis answered: {}", reply.text().substr(0, 300));
    settle(context_, command, make_error_code(RedisError::kServer));
  }
  if (alive.expired()) return;
  owner_.on_settled(*this, slot);
  if (alive.expired()) return;
  release_if_drained();
}

// True when the link or the command's place in it is not what it was.
bool CommandLink::turned_away(PendingCommand& command, const Reply& reply) {
  const auto code = error_code_of(reply.text());
  if (code == "NOSCRIPT") {
    // The server has forgotten the scripts, and what follows fails too: all again, on a connection that loads them.
    pending_.push_front(std::move(command));
    ++sent_;
    line_.drop("the server has lost our scripts");
    return true;
  }
  if (!is_not_now(code)) return false;
  if (context_.log.may_log(code)) spdlog::warn("Redis answered: {}; trying again", reply.text().substr(0, 300));
  const auto alive = life_.watch();
  if (owner_.on_turned_away(*this, command, reply)) {
    if (!alive.expired()) release_if_drained();
    return true;
  }
  if (code == "MOVED" || code == "ASK") return false;  // a Cluster, and we were not told so
  held_ = true;
  if (code == "READONLY") look_again_ = true;
  if (!command.is_answered()) returned_.push_back(std::move(command));
  release_if_drained();
  return true;
}

void CommandLink::release_if_drained() {
  if (!held_ || sent_ != 0) return;
  if (look_again_) {
    look_again_ = false;
    return line_.drop("it is no master any more");
  }
  std::move(returned_.rbegin(), returned_.rend(), std::front_inserter(pending_));
  returned_.clear();
  hold_timer_.expires_after(std::chrono::milliseconds(1 + hold_backoff_.next_ms()));
  hold_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (error) return;
    held_ = false;
    flush();
  }));
}

void CommandLink::on_up() {
  failing_ = false;
  const auto alive = life_.watch();
  expire();
  if (alive.expired()) return;
  flush();
  owner_.on_link_up(*this);
}

void CommandLink::on_down() {
  hold_timer_.cancel();
  held_ = look_again_ = false;
  const auto sent_end = pending_.begin() + static_cast<std::ptrdiff_t>(std::exchange(sent_, 0));
  pending_.erase(std::remove_if(pending_.begin(), sent_end, [](const auto& c) { return c.is_answered(); }), sent_end);
  std::move(returned_.rbegin(), returned_.rend(), std::front_inserter(pending_));
  returned_.clear();
  owner_.on_link_down(*this);
}

void CommandLink::arm(std::int64_t when_ms) {
  if (armed_ms_ != 0 && armed_ms_ <= when_ms) return;
  armed_ms_ = when_ms;
  deadline_timer_.expires_at(boost::asio::steady_timer::time_point(std::chrono::milliseconds(when_ms)));
  deadline_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (error) return;
    armed_ms_ = 0;
    expire();
  }));
}

void CommandLink::expire() {
  const auto now = now_ms();
  constexpr auto kNever = std::numeric_limits<std::int64_t>::max();
  std::int64_t next = kNever;
  std::vector<PendingCommand> late;
  const auto take_if_late = [&](PendingCommand& command, bool was_sent) {
    if (command.is_answered()) return false;
    if (command.deadline_ms > now) {
      next = std::min(next, command.deadline_ms);
      return false;
    }
    // What is left behind counts as answered.
    late.push_back({std::exchange(command.bytes, {}), std::exchange(command.done, {}), 0, command.slot, false,
                    static_cast<std::uint8_t>(was_sent ? 1 : 0)});
    return true;
  };
  // Those that were sent leave a place: their replies come yet. The others are never sent.
  for (std::size_t i = 0; i < sent_; ++i) take_if_late(pending_[i], true);
  visit([](const PendingCommand&) {}, [&](PendingCommand& command) { return take_if_late(command, false); });
  for (PendingCommand& command : returned_) take_if_late(command, true);
  std::erase_if(returned_, [](const PendingCommand& command) { return command.is_answered(); });

  if (!late.empty()) {
    failing_ = true;
    if (context_.log.may_log("late")) spdlog::warn("Redis: {} commands not answered in time", late.size());
  }
  const std::int64_t silent_ms = sent_ == 0 ? 0 : now - progress_ms_;
  if (sent_ != 0) {
    next = std::min(next, progress_ms_ + context_.options.wait_ms);
    if (watches_stalls_) next = std::min(next, std::max(progress_ms_, now - kStalledMs / 2) + kStalledMs);
  }
  if (next != kNever) arm(std::max(next, now + kExpireEveryMs));

  const auto alive = life_.watch();
  for (PendingCommand& command : late) {
    settle(context_, command, make_error_code(RedisError::kUnavailable));
    if (alive.expired()) return;
    if (command.owed == 0) owner_.on_settled(*this, command.slot);
  }
  if (silent_ms >= context_.options.wait_ms) {
    line_.drop("it has not answered for " + std::to_string(silent_ms) + " ms");
  } else if (silent_ms >= kStalledMs && watches_stalls_) {
    owner_.on_link_stalled(*this);
  }
}

}  // namespace hubbub::broker::redis
