#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "hubbub/broker/redis/context.hpp"
#include "hubbub/broker/redis/line.hpp"

namespace hubbub::broker::redis {

/// A command on its way. Without `done` it has been answered already, and only the reply that is owed is waited for.
struct PendingCommand {
  std::string bytes;
  Client::Done done;
  std::int64_t deadline_ms = 0;
  std::uint16_t slot = 0;
  bool asking = false;    ///< ASKING goes before it
  std::uint8_t owed = 0;  ///< replies still to come; when sent

  bool is_answered() const { return !done; }
};

class CommandLink;

/// What a link leaves to others. [shard]
class CommandLinkOwner {
 public:
  /// An error that only means "not here" or "not now" for the command's slot. True when it has been taken; else the
  /// link tries the command again by itself, in order.
  virtual bool on_turned_away(CommandLink&, PendingCommand&, const Reply&) { return false; }
  /// The reply to a command of this slot has come, also when nobody waited for it any more, or none will come since it
  /// was never sent.
  virtual void on_settled(CommandLink&, std::uint16_t /*slot*/) {}
  virtual void on_link_up(CommandLink&) {}
  virtual void on_link_down(CommandLink&) {}
  virtual void on_link_unreachable(CommandLink&) {}
  /// It has owed an answer for some time. May come again and again.
  virtual void on_link_stalled(CommandLink&) {}

 protected:
  ~CommandLinkOwner() = default;
};

/// Commands to one server, in order: what is unanswered when the connection is lost is sent again before what waits.
/// [shard]
class CommandLink final : private LineOwner {
 public:
  CommandLink(Context& context, EndpointSource& source, CommandLinkOwner& owner);
  ~CommandLink();

  void start() { line_.start(); }
  /// Takes over a command, whose bytes have been counted.
  void push(PendingCommand&& command);
  Line& line() { return line_; }
  const Line& line() const { return line_; }
  bool is_idle() const { return pending_.empty(); }

  /// Looks at all commands, in order: those that were sent, then those that wait, of which `take` may move some away
  /// (true: it has).
  template <class Look, class Take>
  void visit(Look&& look, Take&& take) {
    for (std::size_t i = 0; i < sent_; ++i) look(std::as_const(pending_[i]));
    std::size_t kept = sent_;
    for (std::size_t i = sent_; i < pending_.size(); ++i) {
      if (take(pending_[i])) continue;
      if (kept != i) pending_[kept] = std::move(pending_[i]);
      ++kept;
    }
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(kept), pending_.end());
  }

  /// Whether commands are being answered, as far as one knows.
  bool is_ready() const;

 private:
  void on_up() override;
  void on_reply(Reply&& reply) override;
  void on_written() override { flush(); }
  void on_down() override;
  void on_attempt_failed() override { owner_.on_link_unreachable(*this); }

  void flush_soon();
  void flush();
  bool turned_away(PendingCommand& command, const Reply& reply);
  void release_if_drained();
  void expire();
  void arm(std::int64_t when_ms);

  Context& context_;
  CommandLinkOwner& owner_;
  const bool watches_stalls_;
  Line line_;
  std::deque<PendingCommand> pending_;  // those sent, then those that wait
  std::size_t sent_ = 0;
  std::deque<PendingCommand> returned_;  // turned away: to be sent again, before the others
  bool held_ = false;                    // nothing more is sent until all that was has been answered
  bool look_again_ = false;              // and then the line is to be made anew
  Backoff hold_backoff_{50, 500};
  boost::asio::steady_timer hold_timer_, deadline_timer_;
  std::int64_t armed_ms_ = 0;
  std::int64_t progress_ms_ = 0;  // since when the oldest reply is owed, or the last came
  bool flush_posted_ = false, failing_ = false;
  Lifeline life_;
};

/// Answers a command, and counts.
void settle(Context& context, PendingCommand& command, base::Result<Reply> result);

}  // namespace hubbub::broker::redis
