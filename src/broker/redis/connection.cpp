#include "hubbub/broker/redis/connection.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <stdexcept>
#include <utility>

namespace hubbub::broker::redis {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::string_view name_of(Greeting::Step step) {
  switch (step) {
    case Greeting::Step::kAuth:
      return "AUTH";
    case Greeting::Step::kSelect:
      return "SELECT";
    case Greeting::Step::kMaster:
      return "ROLE";
    case Greeting::Step::kScript:
      return "SCRIPT LOAD";
    case Greeting::Step::kPing:
      return "PING";
  }
  return "";
}

struct Refused {
  std::string why;
  bool denied;
};

/// Throws Refused when the server does not want us, or is not what we want.
void check_greeting(Greeting::Step step, const Reply& reply) {
  if (reply.kind() == Reply::Kind::kError) {
    const auto code = error_code_of(reply.text());
    const bool denied = step == Greeting::Step::kAuth || code == "NOAUTH" || code == "WRONGPASS" || code == "NOPERM";
    throw Refused{std::string(name_of(step)) + " is answered: " + std::string(reply.text().substr(0, 200)), denied};
  }
  if (step == Greeting::Step::kMaster && reply[0].text() != "master") throw Refused{"it is no master (yet)", false};
}

}  // namespace

void Greeting::add(Step step, const Command& command) {
  bytes_ += command.bytes();
  steps_.push_back(step);
}

void Greeting::add_auth(const std::string& user, const std::string& password) {
  if (password.empty()) return;
  Command auth(user.empty() ? 2 : 3);
  auth.add("AUTH");
  if (!user.empty()) auth.add(user);
  add(Step::kAuth, auth.add(password));
}

Greeting Greeting::for_commands(const Context& context, bool of_master) {
  Greeting greeting;
  greeting.add_auth(context.options.user, context.options.password);
  if (context.options.database != 0) {
    greeting.add(Step::kSelect, Command(2).add("SELECT").add(std::uint64_t{context.options.database}));
  }
  if (of_master) greeting.add(Step::kMaster, Command(1).add("ROLE"));
  for (const Script* script : context.scripts) {
    greeting.add(Step::kScript, Command(3).add("SCRIPT").add("LOAD").add(script->source));
  }
  greeting.add(Step::kPing, Command(1).add("PING"));
  return greeting;
}

Greeting Greeting::for_subscriptions(const Context& context, bool of_master) {
  Greeting greeting;
  greeting.add_auth(context.options.user, context.options.password);
  if (of_master) greeting.add(Step::kMaster, Command(1).add("ROLE"));
  greeting.add(Step::kPing, Command(1).add("PING"));
  return greeting;
}

Greeting Greeting::for_sentinel(const Context& context) {
  Greeting greeting;
  greeting.add_auth(context.options.sentinel_user, context.options.sentinel_password);
  greeting.add(Step::kPing, Command(1).add("PING"));
  return greeting;
}

Connection::Connection(Context& context, Endpoint endpoint, Greeting greeting, ConnectionOwner& owner)
    : context_(context),
      endpoint_(std::move(endpoint)),
      greeting_(std::move(greeting)),
      owner_(&owner),
      socket_(context.io),
      timer_(context.io),
      resolver_(context.io),
      in_(std::make_unique<std::array<char, 64UL * 1024>>()) {
  if (!context.tls) return;
  tls_.emplace(socket_, *context.tls);
  tls_->set_verify_callback(asio::ssl::host_name_verification(endpoint_.host));
}

void Connection::open() {
  const auto limit_ms = context_.options.connect_timeout_ms;
  timer_.expires_after(std::chrono::milliseconds(limit_ms));
  timer_.async_wait([self = shared_from_this(), limit_ms](const error_code& error) {
    if (!error) self->fail("no connection within " + std::to_string(limit_ms) + " ms");
  });
  // Everything that belongs to the owner is looked at in the completion alone: it runs whatever became of the rest.
  asio::co_spawn(context_.io, establish(), [self = shared_from_this()](const std::exception_ptr& error) {
    if (self->owner_ == nullptr) return;
    std::string why;
    bool denied = false;
    try {
      if (error) std::rethrow_exception(error);
      self->timer_.cancel();
      self->owner_->on_open();
      if (self->owner_ != nullptr) self->read();
      return;
    } catch (const Refused& refused) {
      why = refused.why;
      denied = refused.denied;
    } catch (const boost::system::system_error& failure) {
      why = failure.code().message();
    } catch (const std::runtime_error& failure) {
      why = failure.what();
    }
    self->fail(why, denied);
  });
}

asio::awaitable<void> Connection::establish() {
  using asio::ip::tcp;
  const auto self = shared_from_this();
  error_code not_numeric;
  const auto address = asio::ip::make_address(endpoint_.host, not_numeric);
  if (!not_numeric) {
    co_await socket_.async_connect({address, endpoint_.port}, asio::use_awaitable);
  } else {
    const auto found =
        co_await resolver_.async_resolve(endpoint_.host, std::to_string(endpoint_.port), asio::use_awaitable);
    if (owner_ == nullptr) co_return;  // connecting would open the socket again
    co_await asio::async_connect(socket_, found, asio::use_awaitable);
  }
  if (owner_ == nullptr) co_return;
  socket_.set_option(tcp::no_delay(true));
  socket_.set_option(asio::socket_base::keep_alive(true));
  if (tls_) {
    if (not_numeric) SSL_set_tlsext_host_name(tls_->native_handle(), endpoint_.host.c_str());
    co_await tls_->async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  }
  co_await greet();
}

asio::awaitable<void> Connection::greet() {
  const auto& steps = greeting_.steps();
  co_await with_stream(
      [&](auto& stream) { return asio::async_write(stream, asio::buffer(greeting_.bytes()), asio::use_awaitable); });
  while (greeted_ < steps.size() && owner_ != nullptr) {
    const std::size_t size = co_await with_stream(
        [&](auto& stream) { return stream.async_read_some(asio::buffer(*in_), asio::use_awaitable); });
    const bool whole = reader_.consume({in_->data(), size}, [&](Reply&& reply) {
      if (greeted_ == steps.size()) throw std::runtime_error("an answer to no question");
      check_greeting(steps[greeted_++], reply);
      return true;
    });
    if (!whole) throw std::runtime_error(reader_.problem());
  }
}

void Connection::close() {
  owner_ = nullptr;
  close_socket();
}

void Connection::close_socket() {
  error_code ignored;
  timer_.cancel();
  resolver_.cancel();
  socket_.close(ignored);
}

void Connection::fail(const std::string& why, bool denied) {
  ConnectionOwner* const owner = std::exchange(owner_, nullptr);
  close_socket();
  if (owner != nullptr) owner->on_closed(why, denied);
}

// HOT PATH
void Connection::start_write() {
  if (is_writing_ || out_.empty() || owner_ == nullptr) return;
  is_writing_ = true;
  writing_.swap(out_);
  with_stream([this](auto& stream) {
    asio::async_write(stream, asio::buffer(writing_),
                      [self = shared_from_this()](const error_code& error, std::size_t) {
                        self->is_writing_ = false;
                        self->writing_.clear();
                        if (self->owner_ == nullptr) return;
                        if (error) return self->fail(error.message());
                        if (!self->out_.empty()) return self->start_write();
                        if (self->writing_.capacity() > 1024UL * 1024) self->writing_ = {};
                        self->owner_->on_written();
                      });
  });
}

void Connection::read() {
  with_stream([this](auto& stream) {
    stream.async_read_some(asio::buffer(*in_), [self = shared_from_this()](const error_code& error, std::size_t size) {
      if (self->owner_ == nullptr) return;
      if (error) return self->fail(error.message());
      if (self->handle({self->in_->data(), size})) self->read();
    });
  });
}

// HOT PATH. False when the connection has been closed.
bool Connection::handle(std::string_view bytes) {
  const bool whole = reader_.consume(bytes, [this](Reply&& reply) {
    owner_->on_reply(std::move(reply));
    return owner_ != nullptr;
  });
  if (owner_ == nullptr) return false;
  if (!whole) fail("protocol error: " + reader_.problem());
  return whole;
}

}  // namespace hubbub::broker::redis
