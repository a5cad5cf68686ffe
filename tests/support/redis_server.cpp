#include "support/redis_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "hubbub/broker/redis/command.hpp"
#include "hubbub/broker/redis/reply_reader.hpp"

namespace hubbub::test {

namespace {

using namespace std::chrono_literals;
namespace redis = broker::redis;

class Socket {
 public:
  Socket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (fd_ < 0) throw std::runtime_error("no socket");
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

bool is_free(std::uint16_t port) {
  const Socket socket;
  const sockaddr_in address = loopback(port);
  return ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

int slowness() {
  const char* const text = std::getenv("HUBBUB_TEST_SLOWNESS");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}

bool wait_until(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit * slowness();
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(3ms);
  }
  return true;
}

std::uint16_t free_port() {
  std::random_device random;
  for (int i = 0; i < 1000; ++i) {
    const auto port = static_cast<std::uint16_t>(std::uniform_int_distribution<int>(12'000, 29'999)(random));
    if (is_free(port)) return port;
  }
  throw std::runtime_error("no free port");
}

RedisServer::RedisServer(Options options) : options_(std::move(options)) {
  std::string path = std::filesystem::temp_directory_path() / "hubbub-redis-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("no folder for redis-server");
  folder_ = path;
  // Somebody may take the port between the look and the start; then redis-server ends at once.
  for (int i = 0; i < 10 && pid_ == 0; ++i) {
    port_ = free_port();
    if (options_.cluster) bus_port_ = free_port();
    if (port_ != bus_port_ && try_start()) return;
  }
  const std::string log = log_tail();
  std::filesystem::remove_all(folder_);
  throw std::runtime_error("redis-server does not start: " + log);
}

RedisServer::~RedisServer() {
  kill9();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

bool RedisServer::try_start() {
  const std::string log = folder_ + "/log";
  std::filesystem::remove(log);
  std::vector<std::string> words{"redis-server"};
  const std::string config = folder_ + "/redis.conf";
  if (!options_.config.empty()) {
    // Sentinel writes its state into it: after a restart it goes on with that.
    if (!std::filesystem::exists(config)) std::ofstream(config) << options_.config << "\n";
    words.push_back(config);
  }
  const std::string port = std::to_string(port_);
  words.insert(words.end(), {options_.tls ? "--tls-port" : "--port", port, "--bind", "127.0.0.1", "--dir", folder_,
                             "--logfile", log});
  if (options_.tls) words.insert(words.end(), {"--port", "0"});
  if (options_.sentinel) words.emplace_back("--sentinel");
  if (!options_.sentinel) {
    words.insert(words.end(), {"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"});
  }
  if (options_.cluster) {
    words.insert(words.end(), {"--cluster-enabled", "yes", "--cluster-port", std::to_string(bus_port_),
                               "--cluster-node-timeout", "2000"});
  }
  words.insert(words.end(), options_.args.begin(), options_.args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
    if (::getppid() != parent) ::_exit(1);
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  pid_ = child;
  const bool decided = wait_until(
      [&] {
        int status = 0;
        if (::waitpid(child, &status, WNOHANG) == child) {
          pid_ = 0;
          return true;
        }
        std::ifstream in(log);
        std::stringstream text;
        text << in.rdbuf();
        return text.str().find(options_.sentinel ? "Sentinel ID is" : "eady to accept connections") !=
               std::string::npos;
      },
      20s);
  if (!decided) kill9();
  return pid_ != 0;
}

std::string RedisServer::log_tail() const {
  std::ifstream in(folder_ + "/log");
  std::stringstream text;
  text << in.rdbuf();
  const std::string log = text.str();
  return log.size() > 2000 ? log.substr(log.size() - 2000) : log;
}

void RedisServer::end(int signal) {
  if (pid_ == 0) return;
  ::kill(pid_, signal);
  if (signal != SIGKILL) ::kill(pid_, SIGCONT);
  const auto gone = [this] { return ::waitpid(pid_, nullptr, WNOHANG) == pid_; };
  if (!wait_until(gone, 5s)) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_ = 0;
}

void RedisServer::stop() { end(SIGTERM); }
void RedisServer::kill9() { end(SIGKILL); }

void RedisServer::restart() {
  stop();
  if (!try_start()) throw std::runtime_error("redis-server does not start again: " + log_tail());
}

void RedisServer::freeze() {
  ::kill(pid_, SIGSTOP);
  int status = 0;
  if (!wait_until([&] { return ::waitpid(pid_, &status, WNOHANG | WUNTRACED) == pid_ && WIFSTOPPED(status); })) {
    throw std::runtime_error("redis-server does not stand still");
  }
}

void RedisServer::thaw() { ::kill(pid_, SIGCONT); }

redis::Reply RedisServer::call(const std::vector<std::string>& words) const {
  const Socket socket;
  const timeval limit{.tv_sec = 5 * slowness(), .tv_usec = 0};
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const sockaddr_in address = loopback(port_);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("redis-server does not let us connect");
  }
  redis::Command command(words.size());
  for (const std::string& word : words) command.add(word);
  std::string_view rest = command.bytes();
  while (!rest.empty()) {
    const auto sent = ::send(socket.fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("redis-server does not read");
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  redis::ReplyReader reader;
  std::optional<redis::Reply> answer;
  char buffer[16 * 1024];
  while (!answer) {
    const auto size = ::recv(socket.fd(), buffer, sizeof buffer, 0);
    if (size <= 0) throw std::runtime_error("redis-server does not answer " + words.front());
    if (!reader.consume({buffer, static_cast<std::size_t>(size)}, [&](redis::Reply&& reply) {
          answer = std::move(reply);
          return false;
        })) {
      throw std::runtime_error(reader.problem());
    }
  }
  return *answer;
}

}  // namespace hubbub::test
