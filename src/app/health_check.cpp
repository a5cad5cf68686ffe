#include "hubbub/app/health_check.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <spdlog/fmt/fmt.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace hubbub::app {
namespace {

constexpr std::string_view kDefaultPath = "/healthz";
constexpr std::size_t kStatusLineMaxBytes = 1024;

using Clock = std::chrono::steady_clock;

std::string error_text(int error) { return std::generic_category().message(error); }

class Socket {
 public:
  explicit Socket(int family) : fd_(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const { return fd_; }

  /// 0, or an errno; ETIMEDOUT when the deadline has passed.
  int wait(short events, Clock::time_point deadline) const {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd entry{fd_, events, 0};
      const int ready = ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
      if (ready > 0) return 0;
      if (ready == 0) return ETIMEDOUT;
      if (errno != EINTR) return errno;
    }
  }

 private:
  int fd_;
};

int connect_to(const Socket& socket, const sockaddr_storage& address, socklen_t size, Clock::time_point deadline) {
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (const int error = socket.wait(POLLOUT, deadline)) return error;
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

int send_all(const Socket& socket, std::string_view data, Clock::time_point deadline) {
  while (!data.empty()) {
    const auto sent = ::send(socket.fd(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      data.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      return errno;
    } else if (const int error = socket.wait(POLLOUT, deadline)) {
      return error;
    }
  }
  return 0;
}

/// The first line of the answer, without its end; ECONNRESET when it ends before.
std::variant<std::string, int> read_line(const Socket& socket, Clock::time_point deadline) {
  std::string line;
  std::array<char, 512> chunk;
  while (line.size() < kStatusLineMaxBytes) {
    const auto got = ::recv(socket.fd(), chunk.data(), chunk.size(), 0);
    if (got == 0) return ECONNRESET;
    if (got > 0) {
      line.append(chunk.data(), static_cast<std::size_t>(got));
      if (const auto end = line.find("\r\n"); end != line.npos) return line.substr(0, end);
    } else if (errno != EAGAIN && errno != EINTR) {
      return errno;
    } else if (const int error = socket.wait(POLLIN, deadline)) {
      return error;
    }
  }
  return EMSGSIZE;
}

}  // namespace

std::variant<HealthTarget, std::string> parse_health_url(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  const auto wrong = [&] {
    return fmt::format("{} is not http://HOST:PORT/PATH with a numeric host or localhost", shown_value(url));
  };
  if (!url.starts_with(kScheme)) return wrong();
  const auto rest = url.substr(kScheme.size());
  const auto slash = std::min(rest.find('/'), rest.size());
  const auto address = parse_listen_address(rest.substr(0, slash));
  const auto path = rest.substr(slash);
  const bool printable = std::all_of(path.begin(), path.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!address || address->port == 0 || !printable) return wrong();
  return HealthTarget{address->address, address->port, std::string(path.empty() ? kDefaultPath : path)};
}

std::variant<HealthTarget, std::string> health_target(const Settings& settings) {
  const auto address = parse_listen_address(settings.listen.front());  // was checked
  if (!address || address->port == 0) {
    return fmt::format("listen {} has no port to ask at: give the URL", shown_value(settings.listen.front()));
  }
  HealthTarget target{address->address, address->port, std::string(kDefaultPath)};
  if (target.address == "0.0.0.0") target.address = "127.0.0.1";
  if (target.address == "::") target.address = "::1";
  return target;
}

Problem check_health(const HealthTarget& target, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  const bool v6 = target.address.find(':') != std::string::npos;
  const auto host = fmt::format("{}{}{}:{}", v6 ? "[" : "", target.address, v6 ? "]" : "", target.port);

  sockaddr_storage address{};
  socklen_t size = 0;
  if (v6) {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(target.port);
    if (::inet_pton(AF_INET6, target.address.c_str(), &in6.sin6_addr) != 1) return host + " is no address";
    std::memcpy(&address, &in6, size = sizeof in6);
  } else {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(target.port);
    if (::inet_pton(AF_INET, target.address.c_str(), &in.sin_addr) != 1) return host + " is no address";
    std::memcpy(&address, &in, size = sizeof in);
  }

  const Socket socket(address.ss_family);
  if (socket.fd() < 0) return "no socket: " + error_text(errno);
  if (const int error = connect_to(socket, address, size, deadline)) {
    return fmt::format("cannot connect to {}: {}", host, error_text(error));
  }
  const auto request = fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hubbub-healthcheck\r\nConnection: close\r\n\r\n", target.path, host);
  if (const int error = send_all(socket, request, deadline)) {
    return fmt::format("cannot ask {}: {}", host, error_text(error));
  }
  const auto answer = read_line(socket, deadline);
  if (const int* error = std::get_if<int>(&answer))
    return fmt::format("no answer from {}: {}", host, error_text(*error));
  const std::string& line = std::get<std::string>(answer);
  const bool good = line.starts_with("HTTP/1.1 200 ") || line.starts_with("HTTP/1.0 200 ");
  return good ? Problem{} : fmt::format("{}{} answers {}", host, target.path, shown_value(line));
}

}  // namespace hubbub::app
