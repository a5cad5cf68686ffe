// hubbub-floor: the bare epoll fan-out, the honest lower bound that hubbub is measured against. It does the kernel's
// part of the job and as little else as it can: one thread, no validation, no retention, no queue but what a full
// socket forces. Never a server to use. It writes frames of exactly the bytes of Hubbub's `message` event.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "frames.hpp"

namespace hubbub::bench {
namespace {

constexpr std::size_t kMaxSockets = 32768;
constexpr std::size_t kReadBytes = 256 * 1024;
constexpr int kEventsPerTurn = 1024;
constexpr int kAcceptsPerTurn = 256;

// What goes wrong on purpose with every hundredth message, so that the generator's own eyes can be tested.
enum class Fault { kNone, kDrop, kDuplicate, kSwap, kCorrupt };
constexpr std::uint64_t kFaultEvery = 100;

volatile std::sig_atomic_t stop_requested = 0;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "hubbub-floor: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

struct Room {
  std::string name;
  std::vector<int> members;  // sockets
  std::string batch;         // frames of this turn, shared by all members
  std::string held;          // by Fault::kSwap
  std::uint64_t seq = 0;
};

struct Client {
  bool upgraded = false;
  int room = -1;
  std::uint32_t place = 0;  // in the room's members
  std::string user;
  std::string partial;  // an unfinished frame or request
  std::string pending;  // what the socket would not take
};

std::string_view text_between(std::string_view text, std::string_view before, char after) {
  const auto* found = static_cast<const char*>(memmem(text.data(), text.size(), before.data(), before.size()));
  if (found == nullptr) return {};
  const char* first = found + before.size();
  const auto* last = static_cast<const char*>(std::memchr(first, after, text.data() + text.size() - first));
  return last == nullptr ? std::string_view{} : std::string_view(first, last - first);
}

void append_frame_header(std::string& out, std::size_t size) {
  out.push_back(static_cast<char>(0x80U | kOpText));
  if (size < 126) {
    out.push_back(static_cast<char>(size));
  } else if (size < 65536) {
    const char header[] = {126, static_cast<char>(size >> 8U), static_cast<char>(size & 0xFFU)};
    out.append(header, sizeof header);
  } else {
    out.push_back(127);
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(size >> static_cast<unsigned>(shift)));
  }
}

class Floor {
 public:
  Floor(bool coalesce, Fault fault, const std::string& address, std::uint16_t port)
      : coalesce_(coalesce), fault_(fault), clients_(kMaxSockets) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    if (inet_pton(AF_INET, address.c_str(), &where.sin_addr) != 1) die("bad address " + address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) die("bind");
    if (listen(listener_, 4096) != 0) die("listen");
    socklen_t size = sizeof where;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size);
    std::printf("listening on %s:%u\n", address.c_str(), static_cast<unsigned>(ntohs(where.sin_port)));
    std::fflush(stdout);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
    rooms_.reserve(kMaxSockets);
    read_buffer_ = std::make_unique<char[]>(kReadBytes);
  }

  void run() {
    std::array<epoll_event, kEventsPerTurn> events;
    while (stop_requested == 0) {
      const int count = epoll_wait(epoll_, events.data(), kEventsPerTurn, 1000);
      if (count <= 0) continue;
      read_clock();
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          accept_some();
          continue;
        }
        if ((events[i].events & EPOLLOUT) != 0) write_pending(fd);
        if ((events[i].events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) read_some(fd);
      }
      flush_rooms();
      for (const int fd : dead_) close_now(fd);
      dead_.clear();
    }
  }

 private:
  void watch(int operation, int fd, std::uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    // A socket that died this turn is gone from the set, and its room may still write to it.
    if (epoll_ctl(epoll_, operation, fd, &event) != 0 && operation == EPOLL_CTL_ADD) die("epoll_ctl");
  }

  void read_clock() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    const std::int64_t now_ms = now.tv_sec * 1000LL + now.tv_nsec / 1'000'000;
    if (now_ms == now_ms_) return;
    now_ms_ = now_ms;
    tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    char tail[80];
    std::snprintf(tail, sizeof tail, ",\"timestamp\":\"%s.%03dZ\"}", date, static_cast<int>(now_ms % 1000));
    tail_ = tail;
    head_ = "{\"type\":\"message\",\"id\":\"" + std::to_string(now_ms) + "-";
  }

  void accept_some() {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (static_cast<std::size_t>(fd) >= kMaxSockets) {
        close(fd);
        continue;
      }
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
  }

  void close_now(int fd) {
    Client& client = clients_[fd];
    if (client.room >= 0) {
      auto& members = rooms_[client.room].members;
      members[client.place] = members.back();
      clients_[members.back()].place = client.place;
      members.pop_back();
    }
    client = Client{};
    close(fd);
  }

  // Sends at once, and keeps what the socket does not take.
  void write(int fd, const char* data, std::size_t size) {
    Client& client = clients_[fd];
    if (client.pending.empty()) {
      const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
      if (sent == static_cast<ssize_t>(size)) return;
      if (sent < 0 && errno != EAGAIN) return;  // the read side sees the end of it
      if (sent > 0) data += sent, size -= sent;
      watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    }
    client.pending.append(data, size);
  }

  void write_pending(int fd) {
    std::string& pending = clients_[fd].pending;
    const ssize_t sent = send(fd, pending.data(), pending.size(), MSG_NOSIGNAL);
    if (sent < 0) return;
    pending.erase(0, sent);
    if (!pending.empty()) return;
    pending.shrink_to_fit();
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }

  void flush_rooms() {
    for (const int index : dirty_rooms_) {
      Room& room = rooms_[index];
      for (const int fd : room.members) write(fd, room.batch.data(), room.batch.size());
      room.batch.clear();
    }
    dirty_rooms_.clear();
  }

  void read_some(int fd) {
    Client& client = clients_[fd];
    char* buffer = read_buffer_.get();
    const std::size_t kept = client.partial.size();
    std::memcpy(buffer, client.partial.data(), kept);
    const ssize_t got = recv(fd, buffer + kept, kReadBytes - kept, 0);
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) return;
      dead_.push_back(fd);
      watch(EPOLL_CTL_DEL, fd, 0);
      return;
    }
    const std::size_t size = kept + static_cast<std::size_t>(got);
    const std::size_t used = client.upgraded ? on_frames(fd, buffer, size) : on_request(fd, buffer, size);
    client.partial.assign(buffer + used, size - used);
  }

  std::size_t on_request(int fd, const char* data, std::size_t size) {
    const std::string_view request(data, size);
    const std::size_t end = request.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    Client& client = clients_[fd];
    client.user = text_between(request, "GET /ws/", ' ');
    std::string key(text_between(request, "Sec-WebSocket-Key: ", '\r'));
    key += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    std::array<unsigned char, 20> digest{};
    EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha1(), nullptr);
    std::array<unsigned char, 32> accept{};
    EVP_EncodeBlock(accept.data(), digest.data(), digest.size());
    const std::string answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: " +
        std::string(reinterpret_cast<char*>(accept.data())) + "\r\n\r\n";
    client.upgraded = true;
    write(fd, answer.data(), answer.size());
    return end + 4;
  }

  std::size_t on_frames(int fd, char* data, std::size_t size) {
    std::size_t at = 0;
    while (size - at >= 6) {
      const auto* p = reinterpret_cast<const unsigned char*>(data + at);
      std::size_t header = 6;
      std::size_t length = p[1] & 0x7FU;
      if (length == 126) {
        header = 8;
        length = std::size_t{p[2]} << 8U | p[3];
      } else if (length == 127) {
        if (size - at < 14) break;
        header = 14;
        length = 0;
        for (unsigned i = 2; i < 10; ++i) length = length << 8U | p[i];
      }
      if (size - at < header + length) break;
      std::uint32_t mask;
      std::memcpy(&mask, data + at + header - 4, 4);
      apply_mask(data + at + header, length, mask);
      const unsigned opcode = p[0] & 0x0FU;
      if (opcode == kOpText) {
        on_command(fd, {data + at + header, length});
      } else if (opcode == kOpClose) {
        const char close_frame[] = {static_cast<char>(0x88), 2, 0x03, static_cast<char>(0xE8)};
        write(fd, close_frame, sizeof close_frame);
        shutdown(fd, SHUT_WR);
      }
      at += header + length;
    }
    return at;
  }

  void on_command(int fd, std::string_view text) {
    if (text.starts_with(R"({"type":"room_message")")) return on_room_message(fd, text);
    if (text.starts_with(R"({"type":"join_room")")) return on_join(fd, text);
  }

  void on_join(int fd, std::string_view text) {
    Client& client = clients_[fd];
    const std::string name(text_between(text, R"("room_id":")", '"'));
    if (client.room >= 0) return;  // one room a socket is all that a benchmark needs
    const auto [place, fresh] = room_by_name_.try_emplace(name, static_cast<int>(rooms_.size()));
    if (fresh) rooms_.push_back(Room{name, {}, {}, {}, 0});
    client.room = place->second;
    auto& members = rooms_[client.room].members;
    client.place = static_cast<std::uint32_t>(members.size());
    members.push_back(fd);
    const std::string body = R"({"type":"joined","id":1,"room_id":")" + name +
                             R"(","seq":0,"epoch":"floor","members":[],"member_count":)" +
                             std::to_string(members.size()) + "}";
    std::string frame;
    append_frame_header(frame, body.size());
    frame += body;
    write(fd, frame.data(), frame.size());
  }

  void on_room_message(int fd, std::string_view text) {
    const Client& client = clients_[fd];
    const std::string_view name = text_between(text, R"("room_id":")", '"');
    constexpr std::string_view kContent = R"("content":)";
    const auto* content = static_cast<const char*>(memmem(text.data(), text.size(), kContent.data(), kContent.size()));
    if (client.room < 0 || content == nullptr || rooms_[client.room].name != name) return;
    content += kContent.size();
    const std::string_view raw(content, text.data() + text.size() - 1 - content);

    Room& room = rooms_[client.room];
    char seq_text[24];
    const auto seq_end = std::to_chars(seq_text, seq_text + sizeof seq_text, ++room.seq).ptr;
    const std::string_view seq(seq_text, seq_end - seq_text);
    constexpr std::string_view kSeq = R"(","seq":)";
    constexpr std::string_view kRoom = R"(,"room_id":")";
    constexpr std::string_view kFrom = R"(","from":")";
    constexpr std::string_view kRaw = R"(","content":)";
    const std::size_t size = head_.size() + 2 * seq.size() + kSeq.size() + kRoom.size() + name.size() + kFrom.size() +
                             client.user.size() + kRaw.size() + raw.size() + tail_.size();
    std::string& out = room.batch;
    if (out.empty() && coalesce_) dirty_rooms_.push_back(client.room);
    const std::size_t start = out.size();
    append_frame_header(out, size);
    out.append(head_).append(seq).append(kSeq).append(seq).append(kRoom).append(name);
    out.append(kFrom).append(client.user).append(kRaw).append(raw).append(tail_);
    if (fault_ != Fault::kNone) spoil(room, start);
    if (coalesce_) return;
    for (const int member : room.members) write(member, out.data(), out.size());
    out.clear();
  }

  void spoil(Room& room, std::size_t start) {
    std::string& out = room.batch;
    if (fault_ == Fault::kSwap && room.seq % kFaultEvery == 1) out += room.held;
    if (room.seq % kFaultEvery != 0) return;
    if (fault_ == Fault::kDuplicate) out += std::string(out, start);
    if (fault_ == Fault::kCorrupt) out[out.size() - tail_.size() - 2] ^= 1;
    if (fault_ == Fault::kSwap) room.held.assign(out, start);
    if (fault_ == Fault::kSwap || fault_ == Fault::kDrop) out.resize(start);
  }

  const bool coalesce_;
  const Fault fault_;
  int listener_ = -1;
  int epoll_ = -1;
  std::vector<Client> clients_;  // by socket
  std::vector<Room> rooms_;
  std::unordered_map<std::string, int> room_by_name_;
  std::vector<int> dirty_rooms_;
  std::vector<int> dead_;
  std::unique_ptr<char[]> read_buffer_;
  std::int64_t now_ms_ = 0;
  std::string head_;  // of every message event of this millisecond
  std::string tail_;
};

}  // namespace
}  // namespace hubbub::bench

int main(int argc, char** argv) {
  CLI::App app("The bare epoll fan-out that Hubbub is measured against. Not a server to use.", "hubbub-floor");
  std::string listen = "127.0.0.1:0";
  std::string mode = "coalesce";
  app.add_option("--listen", listen, "IPv4 address:port, port 0 = choose one; printed when ready")
      ->capture_default_str();
  app.add_option("--mode", mode, "send: one send() a message a socket; coalesce: one send() a socket a turn")
      ->check(CLI::IsMember({"send", "coalesce"}))
      ->capture_default_str();
  using hubbub::bench::Fault;
  Fault fault = Fault::kNone;
  app.add_option("--fault", fault, "Spoil every hundredth message, to test the generator")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Fault>{{"drop", Fault::kDrop},
                                                                       {"duplicate", Fault::kDuplicate},
                                                                       {"swap", Fault::kSwap},
                                                                       {"corrupt", Fault::kCorrupt}}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const std::size_t colon = listen.rfind(':');
  unsigned port = 0;
  if (colon == std::string::npos ||
      std::from_chars(listen.data() + colon + 1, listen.data() + listen.size(), port).ec != std::errc{} ||
      port > 65535) {
    std::fprintf(stderr, "hubbub-floor: --listen wants ADDRESS:PORT, not '%s'\n", listen.c_str());
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sigaction action {};
  action.sa_handler = [](int) { hubbub::bench::stop_requested = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  hubbub::bench::Floor floor(mode == "coalesce", fault, listen.substr(0, colon), static_cast<std::uint16_t>(port));
  floor.run();
  return 0;
}
