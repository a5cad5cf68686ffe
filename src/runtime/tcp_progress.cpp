#include "hubbub/runtime/tcp_progress.hpp"

// Alone in this file: netinet/tcp.h, which Asio includes, has an older tcp_info and does not bear this one beside it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace hubbub::runtime {

std::uint64_t acknowledged_while_sending(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_unacked != 0 || info.tcpi_notsent_bytes != 0 ? info.tcpi_bytes_acked : 0;
}

}  // namespace hubbub::runtime
