#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hubbub/broker/redis/connection.hpp"
#include "hubbub/broker/redis/context.hpp"

namespace hubbub::broker::redis {

/// One question to several servers, of which one good answer is enough. They are asked in turn; the next already when
/// one has been silent for a moment, since what asks is often the loss of a machine. Silent once it is destroyed.
/// [shard]
class Inquiry {
 public:
  /// Whether this is an answer to be content with.
  using Accept = std::function<bool(const Reply& reply, const Endpoint& asked)>;
  /// The end: `accepted`, or nobody knew. May destroy the inquiry.
  using Done = std::function<void(bool accepted)>;

  Inquiry(Context& context, Greeting greeting, std::vector<Endpoint> endpoints, const Command& question, Accept accept,
          Done done);
  ~Inquiry();
  void start() { ask_next(); }

 private:
  class Attempt;
  void ask_next();
  void on_attempt_over();
  void finish(bool accepted);

  Context& context_;
  const Greeting greeting_;
  const std::vector<Endpoint> endpoints_;
  const std::string question_;
  const Accept accept_;
  Done done_;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  std::size_t open_ = 0;
  boost::asio::steady_timer next_timer_, limit_timer_;
  Lifeline life_;
};

}  // namespace hubbub::broker::redis
