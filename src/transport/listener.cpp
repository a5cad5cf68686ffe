#include "hubbub/transport/listener.hpp"

#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/v6_only.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace hubbub::transport {

namespace {

constexpr int kBacklog = 4096;
// A turn's worth: a flood of connects must not keep those that are there from being served.
constexpr int kMaxAcceptsATurn = 64;

std::uint64_t hash_of(const sockaddr_storage& peer) {
  std::string_view bytes;
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    bytes = {reinterpret_cast<const char*>(&v4.sin_addr), sizeof v4.sin_addr};
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    // A customer has at least a /64 to choose from.
    bytes = {reinterpret_cast<const char*>(&v6.sin6_addr), 8};
  }
  return base::SharedString::hash_of(bytes) | 1;  // 0 means "not counted"
}

}  // namespace

Listener::Listener(runtime::ShardPool& shards, TransportContext& context, Handover handover)
    : shards_(shards),
      context_(context),
      handover_(std::move(handover)),
      acceptor_(shards[0].io()),
      pause_(shards[0].io()) {}

base::error_code Listener::bind(const std::string& address, std::uint16_t port) {
  using boost::asio::ip::tcp;
  base::error_code error;
  const auto parsed = boost::asio::ip::make_address(address, error);
  if (error) return error;
  const tcp::endpoint endpoint(parsed, port);
  if (acceptor_.open(endpoint.protocol(), error); error) return error;
  if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error); error) return error;
  // Accepted sockets inherit it (tcp(7)); setting it on each would cost a system call a connection.
  if (acceptor_.set_option(tcp::no_delay(true), error); error) return error;
  if (parsed.is_v6()) {
    if (acceptor_.set_option(boost::asio::ip::v6_only(true), error); error) return error;
  }
  if (acceptor_.bind(endpoint, error); error) return error;
  if (acceptor_.listen(kBacklog, error); error) return error;
  acceptor_.native_non_blocking(true, error);
  return error;
}

std::string Listener::address_text() const {
  base::error_code error;
  const auto endpoint = acceptor_.local_endpoint(error);
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(endpoint.port());
}

void Listener::start() { wait(); }

void Listener::close() {
  base::error_code ignored;
  pause_.cancel();
  acceptor_.close(ignored);
}

void Listener::wait() {
  acceptor_.async_wait(boost::asio::ip::tcp::acceptor::wait_read, [this](const base::error_code& error) {
    if (!error) accept_ready();
  });
}

void Listener::accept_ready() {
  for (int i = 0; i < kMaxAcceptsATurn; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd =
        ::accept4(acceptor_.native_handle(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // Out of descriptors or memory: the socket stays readable, so accepting on would spin. Those who wait are served
      // when somebody leaves.
      spdlog::warn("accept: {}; waiting", std::strerror(errno));
      pause_.expires_after(std::chrono::milliseconds(200));
      pause_.async_wait([this](const base::error_code& error) {
        if (!error) wait();
      });
      return;
    }
    std::uint64_t address_hash = 0;
    if (const std::size_t max = context_.options.max_connections_per_address; max != 0) {
      address_hash = hash_of(peer);
      if (!context_.addresses.try_add(address_hash, max)) {
        ::close(fd);
        continue;
      }
    }
    runtime::Shard& shard = shards_.least_loaded();
    shard.connection_count().fetch_add(1, std::memory_order_relaxed);
    handover_(shard.index(), fd, address_hash);
  }
  wait();
}

}  // namespace hubbub::transport
