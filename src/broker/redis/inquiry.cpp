#include "hubbub/broker/redis/inquiry.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace hubbub::broker::redis {

namespace {
constexpr std::int64_t kPatienceMs = 250;
}

class Inquiry::Attempt final : public ConnectionOwner {
 public:
  Attempt(Inquiry& inquiry, const Endpoint& endpoint)
      : inquiry_(inquiry),
        connection_(std::make_shared<Connection>(inquiry.context_, endpoint, inquiry.greeting_, *this)) {
    connection_->open();
  }
  ~Attempt() { connection_->close(); }

 private:
  void on_open() override {
    connection_->out() += inquiry_.question_;
    connection_->start_write();
  }
  void on_reply(Reply&& reply) override {
    if (std::exchange(over_, true)) return;
    if (inquiry_.accept_(reply, connection_->endpoint())) return inquiry_.finish(true);
    inquiry_.on_attempt_over();
  }
  void on_written() override {}
  void on_closed(const std::string& why, bool denied) override {
    const std::string name = to_text(connection_->endpoint());
    if (denied) {
      spdlog::error("Redis {} does not let us in: {}", name, why);
    } else if (inquiry_.context_.log.may_log(name)) {
      spdlog::warn("Redis {} cannot be asked: {}", name, why);
    }
    if (!std::exchange(over_, true)) inquiry_.on_attempt_over();
  }

  Inquiry& inquiry_;
  std::shared_ptr<Connection> connection_;
  bool over_ = false;
};

Inquiry::Inquiry(Context& context, Greeting greeting, std::vector<Endpoint> endpoints, const Command& question,
                 Accept accept, Done done)
    : context_(context),
      greeting_(std::move(greeting)),
      endpoints_(std::move(endpoints)),
      question_(question.bytes()),
      accept_(std::move(accept)),
      done_(std::move(done)),
      next_timer_(context.io),
      limit_timer_(context.io) {}

Inquiry::~Inquiry() = default;

void Inquiry::ask_next() {
  if (attempts_.size() < endpoints_.size()) {
    ++open_;
    attempts_.push_back(std::make_unique<Attempt>(*this, endpoints_[attempts_.size()]));
    next_timer_.expires_after(std::chrono::milliseconds(kPatienceMs));
    next_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
      if (!error) ask_next();
    }));
    return;
  }
  // All have been asked: the last has as much time as the first.
  limit_timer_.expires_after(std::chrono::milliseconds(context_.options.connect_timeout_ms));
  limit_timer_.async_wait(life_.guard([this](const boost::system::error_code& error) {
    if (!error) finish(false);
  }));
}

void Inquiry::on_attempt_over() {
  --open_;
  if (attempts_.size() < endpoints_.size()) return ask_next();
  if (open_ == 0) finish(false);
}

void Inquiry::finish(bool accepted) {
  next_timer_.cancel();
  limit_timer_.cancel();
  if (const Done done = std::exchange(done_, nullptr)) done(accepted);
}

}  // namespace hubbub::broker::redis
