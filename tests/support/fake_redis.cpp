#include "support/fake_redis.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <list>
#include <memory>
#include <stdexcept>

#include "hubbub/broker/redis/reply_reader.hpp"

namespace hubbub::test {

FakeRedis::FakeRedis(Answer answer)
    : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 16) != 0 || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::pipe(wake_) != 0) {
    throw std::runtime_error("cannot listen");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

FakeRedis::~FakeRedis() {
  ::close(wake_[1]);
  thread_.join();
  ::close(wake_[0]);
  ::close(listener_);
}

void FakeRedis::run() {
  struct Peer {
    int fd;
    int number;
    broker::redis::ReplyReader reader;  // commands look like replies: arrays of texts
    Peer(int socket, int n) : fd(socket), number(n) {}
    ~Peer() { ::close(fd); }
  };
  std::list<std::unique_ptr<Peer>> peers;
  for (;;) {
    std::vector<pollfd> watched{{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const auto& peer : peers) watched.push_back({peer->fd, POLLIN, 0});
    ::poll(watched.data(), watched.size(), -1);
    if (watched[0].revents != 0) return;
    std::size_t i = 2;
    for (auto peer = peers.begin(); peer != peers.end(); ++i) {
      bool alive = true;
      if (watched[i].revents != 0) {
        char buffer[64 * 1024];
        const auto size = ::recv((*peer)->fd, buffer, sizeof buffer, 0);
        alive = size > 0;
        std::string out;
        if (alive) {
          (*peer)->reader.consume({buffer, static_cast<std::size_t>(size)}, [&](broker::redis::Reply&& command) {
            std::vector<std::string> words;
            for (std::size_t w = 0; w < command.size(); ++w) words.emplace_back(command[w].text());
            out += answer_((*peer)->number, words);
            return true;
          });
        }
        if (!out.empty()) ::send((*peer)->fd, out.data(), out.size(), MSG_NOSIGNAL);
      }
      peer = alive ? std::next(peer) : peers.erase(peer);
    }
    if (watched[1].revents != 0) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) peers.push_back(std::make_unique<Peer>(fd, connections_++));
    }
  }
}

}  // namespace hubbub::test
