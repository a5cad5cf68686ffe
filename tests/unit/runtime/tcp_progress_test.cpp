#include "hubbub/runtime/tcp_progress.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace hubbub::runtime {
namespace {

TEST(TcpProgress, GrowsWhileASlowPeerReadsAndIsNothingWhenItOwesNothing) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int peer = ::socket(AF_INET, SOCK_STREAM, 0);
  const int small = 4096;
  ASSERT_EQ(::setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  ASSERT_EQ(::connect(peer, reinterpret_cast<sockaddr*>(&address), size), 0);
  const int socket = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  EXPECT_EQ(acknowledged_while_sending(socket), 0U);

  const std::string bytes(1 << 20, 'x');
  const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  ASSERT_GT(sent, 100'000);
  std::string buffer(1 << 16, '\0');
  const auto read_some = [&] {
    pollfd ready{.fd = peer, .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 5'000) == 1 ? ::recv(peer, buffer.data(), buffer.size(), 0) : -1;
  };
  ssize_t got = 0;
  while (got < sent / 4) got += read_some();
  const std::uint64_t before = acknowledged_while_sending(socket);
  EXPECT_GT(before, 0U);
  while (got < sent / 2) got += read_some();
  EXPECT_GT(acknowledged_while_sending(socket), before);
  while (got < sent) got += read_some();
  // The last acknowledgement may be delayed.
  for (int i = 0; i < 500 && acknowledged_while_sending(socket) != 0; ++i) ::poll(nullptr, 0, 10);
  EXPECT_EQ(acknowledged_while_sending(socket), 0U);
  for (const int fd : {listener, peer, socket}) ::close(fd);
  EXPECT_EQ(acknowledged_while_sending(-1), 0U);
}

}  // namespace
}  // namespace hubbub::runtime
