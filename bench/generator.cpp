#include "generator.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "process_stats.hpp"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

namespace hubbub::bench {
namespace {

constexpr std::size_t kEventsPerTurn = 512;
// Reading 512 sockets takes 2 ms; an open loop must look at its schedule more often than that.
constexpr std::size_t kEventsPerTurnOnSchedule = 32;
constexpr std::size_t kMaxFrame = 64U << 20U;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::string_view kMessageHead = R"({"type":"message",)";
constexpr std::string_view kContentHead = R"("content":")";

std::int64_t ns_of(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }
double seconds_of(std::int64_t ns) { return static_cast<double>(ns) * 1e-9; }

std::string base64(const unsigned char* data, int size) {
  std::array<unsigned char, 64> out{};
  EVP_EncodeBlock(out.data(), data, size);
  return reinterpret_cast<char*>(out.data());
}

std::string accept_for(std::string key) {
  key += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, 20> digest{};
  EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha1(), nullptr);
  return base64(digest.data(), digest.size());
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

Generator::Generator(Options options) : options_(std::move(options)), random_(std::random_device{}()) {}

Generator::~Generator() {
  for (Connection& connection : connections_) {
    if (connection.fd >= 0) close(connection.fd);
  }
  if (epoll_ >= 0) close(epoll_);
  if (inflater_ready_) inflateEnd(&inflater_);
}

Report Generator::run() {
  resolve();
  prepare();
  if (options_.server_pid > 0) {
    report_.rss_before = resident_bytes(options_.server_pid);
    if (!report_.rss_before) throw std::runtime_error("no process " + std::to_string(options_.server_pid));
  }
  const auto cpu_before = cpu_seconds(options_.server_pid > 0 ? options_.server_pid : getpid());
  connect_all();
  if (!report_.failed && options_.join) join_all();
  if (!report_.failed) {
    settle();
    if (options_.server_pid > 0) {
      report_.rss_connected = resident_bytes(options_.server_pid);
      if (const auto cpu_now = cpu_seconds(options_.server_pid)) {
        report_.server_cpu_connect_s = *cpu_now - cpu_before.value_or(0);
      }
    }
    if (options_.publish_http) open_publisher();
    if (options_.mode == Mode::kIdle) {
      hold();
    } else if (!report_.failed) {
      publish_all();
    }
    if (options_.server_pid > 0) report_.rss_end = resident_bytes(options_.server_pid);
  }
  close_all();
  if (progress_shown_) std::fputs("\r\033[K", stderr);
  return std::move(report_);
}

void Generator::resolve() {
  std::string_view rest = options_.url;
  if (rest.starts_with("wss://")) throw std::runtime_error("wss:// is not supported: point it at the plain port");
  if (rest.starts_with("ws://")) rest.remove_prefix(5);
  std::string path = "/ws/";
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (rest.size() > slash + 1) path = std::string(rest.substr(slash));
    if (path.back() != '/') path += '/';
    rest = rest.substr(0, slash);
  }
  std::string host(rest);
  std::string port = "80";
  if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos && rest.back() != ']') {
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
  }
  std::string bare = host;
  if (bare.size() > 2 && bare.front() == '[') bare = bare.substr(1, bare.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(bare.c_str(), port.c_str(), &hints, &found); error != 0) {
    throw std::runtime_error("cannot resolve '" + options_.url + "': " + gai_strerror(error));
  }
  std::memcpy(&server_, found->ai_addr, found->ai_addrlen);
  server_size_ = found->ai_addrlen;
  freeaddrinfo(found);

  for (const std::string& text : options_.source_addresses) {
    sockaddr_storage source{};
    source.ss_family = server_.ss_family;
    void* address = server_.ss_family == AF_INET6
                        ? static_cast<void*>(&reinterpret_cast<sockaddr_in6&>(source).sin6_addr)
                        : static_cast<void*>(&reinterpret_cast<sockaddr_in&>(source).sin_addr);
    if (inet_pton(server_.ss_family, text.c_str(), address) != 1) {
      throw std::runtime_error("--source-addresses: '" + text + "' is not an address of the server's family");
    }
    sources_.push_back(source);
  }

  // One key a run, not one a connection: the answer is still checked, and hashing costs the generator nothing.
  std::array<unsigned char, 16> key{};
  for (auto& byte : key) byte = static_cast<unsigned char>(random_());
  const std::string key_text = base64(key.data(), key.size());
  accept_ = accept_for(key_text);
  host_line_ = " HTTP/1.1\r\nHost: " + host + ":" + port + "\r\n\r\n";
  http_head_ = " HTTP/1.1\r\nHost: " + host + ":" + port + "\r\nContent-Type: application/json\r\n" +
               (options_.api_key.empty() ? "" : "X-API-Key: " + options_.api_key + "\r\n") + "Content-Length: ";
  request_head_ = "GET " + path + options_.user_prefix;
  request_tail_ =
      " HTTP/1.1\r\nHost: " + host + ":" + port +
      "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key_text +
      "\r\n";
  if (options_.deflate) {
    request_tail_ +=
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n";
  }
  request_tail_ += "\r\n";
}

void Generator::prepare() {
  // Who publishes by HTTP may do so with nobody to listen.
  const bool alone = options_.publish_http && options_.connections == 0;
  if ((options_.connections == 0 && !alone) || options_.rooms == 0) throw std::runtime_error("nobody to connect");
  if (options_.rooms > options_.connections && !alone) throw std::runtime_error("more rooms than connections");
  if (options_.transport == Transport::kPoll && options_.mode != Mode::kIdle) {
    throw std::runtime_error("--transport poll only with --idle");
  }
  if (options_.mode != Mode::kIdle) {
    if (!options_.join) throw std::runtime_error("without a join nothing is delivered: use --idle with --no-join");
    if (options_.size < kMarkerSize) {
      throw std::runtime_error("--size must be at least " + std::to_string(kMarkerSize) + ", the size of a marker");
    }
    if (options_.publish_http && (options_.mode != Mode::kWindow || options_.publishers != 1)) {
      throw std::runtime_error("--publish-http is one publisher, and with --window only");
    }
    if (!options_.publish_http &&
        (options_.publishers == 0 || options_.publishers > options_.connections / options_.rooms)) {
      throw std::runtime_error("--publishers must be 1 to the members of a room");
    }
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (options_.connections + 16 > files.rlim_cur) {
    throw std::runtime_error("the open-file limit of " + std::to_string(files.rlim_cur) + " is too low for " +
                             std::to_string(options_.connections) + " connections");
  }
  prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);  // an open loop wakes on time, not 50 us later

  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  events_.resize(options_.mode == Mode::kRate ? kEventsPerTurnOnSchedule : kEventsPerTurn);
  buffer_size_ = std::max<std::size_t>(256 * 1024, 4 * std::size_t{options_.size} + 65536);
  buffer_ = std::make_unique<char[]>(buffer_size_);
  if (options_.size >= kMarkerSize) content_tail_.assign(options_.size - kMarkerSize, 'x');
  content_tail_ += "\"}";
  if (options_.deflate) {
    inflater_ready_ = inflateInit2(&inflater_, -15) == Z_OK;
    if (!inflater_ready_) throw std::runtime_error("zlib does not start");
  }

  connections_.resize(options_.connections + (options_.publish_http ? 1U : 0U));
  rooms_.resize(options_.rooms);
  last_.assign(std::size_t{options_.connections} * options_.publishers, 0);
  for (unsigned i = 0; i < options_.rooms; ++i) rooms_[i].name = options_.room_prefix + std::to_string(i);
  for (unsigned i = 0; i < options_.connections; ++i) connections_[i].room = i % options_.rooms;
  if (options_.mode == Mode::kIdle) return;

  // Streams of one room lie `rooms` apart, so taking them in turn goes round the rooms; the publishers of a room
  // are its first members.
  for (unsigned publisher = 0; publisher < options_.publishers; ++publisher) {
    for (unsigned room = 0; room < options_.rooms; ++room) {
      streams_.push_back({publisher * options_.rooms + room, room, 0,
                          R"({"type":"room_message","room_id":")" + rooms_[room].name + R"(","content":")"});
    }
  }
  std::uint64_t slots = 1024;
  const std::uint64_t wanted = options_.mode == Mode::kWindow
                                   ? 4ULL * options_.window * std::max(options_.batch, 1U)
                                   : static_cast<std::uint64_t>(std::clamp(options_.rate * 10, 1e4, 1e6));
  while (slots < wanted) slots *= 2;
  slots_.resize(slots);
  slot_mask_ = slots - 1;
  run_id_ = (random_() & 0xFFFFFFFFU) << 32U;
  char marker[kMarkerSize];
  write_marker(marker, run_id_, 0);
  run_marker_.assign(marker, 3 + 8);
}

// ---- connecting ----

void Generator::fail(const std::string& why) {
  report_.failed = true;
  if (report_.first_error.empty()) report_.first_error = why;
}

void Generator::start_connect(std::uint32_t index) {
  Connection& connection = connections_[index];
  connection.fd = socket(server_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection.fd < 0) return fail(std::string("socket: ") + std::strerror(errno));
  const int on = 1;
  setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!sources_.empty()) {
    const sockaddr_storage& source = sources_[index % sources_.size()];
    setsockopt(connection.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(connection.fd, reinterpret_cast<const sockaddr*>(&source), server_size_) != 0) {
      return fail(std::string("bind to a source address: ") + std::strerror(errno));
    }
  }
  if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&server_), server_size_) != 0 && errno != EINPROGRESS) {
    return fail(std::string("connect: ") + std::strerror(errno));
  }
  ++handshaking_;
  connection.state = State::kUpgrading;
  connection.out = is_listener(index) ? listener_request(index) : request_head_ + std::to_string(index) + request_tail_;
  // Over loopback the connection stands already: try to write, and only if that fails wait for it.
  const ssize_t sent = send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(connection.out.size())) {
    connection.out.clear();
  } else if (sent >= 0 || errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS) {
    if (sent > 0) connection.out.erase(0, sent);
    connection.wants_write = true;
  } else {
    return fail(std::string("connect: ") + std::strerror(errno));
  }
  watch(EPOLL_CTL_ADD, index, connection.wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Generator::connect_all() {
  const std::int64_t start = monotonic_ns();
  const std::int64_t deadline = start + ns_of(options_.setup_timeout_s);
  std::uint32_t next = 0;
  while (report_.connected < options_.connections && !report_.failed) {
    const std::int64_t now = monotonic_ns();
    if (now > deadline)
      return fail("not everybody was connected within " + std::to_string(options_.setup_timeout_s) + " s");
    std::uint32_t allowed = options_.connections;
    if (options_.connect_rate > 0) {
      allowed = std::min<std::uint32_t>(
          allowed, static_cast<std::uint32_t>(seconds_of(now - start) * options_.connect_rate) + 1);
    }
    while (next < allowed && handshaking_ < options_.connect_concurrency && !report_.failed) start_connect(next++);
    show_progress("connecting", now);
    turn(options_.connect_rate > 0 ? kMillisecond : 100 * kMillisecond);
  }
  report_.connect_s = seconds_of(monotonic_ns() - start);
}

void Generator::join_all() {
  const std::int64_t start = monotonic_ns();
  const std::int64_t deadline = start + ns_of(options_.setup_timeout_s);
  std::uint32_t next = 0;
  while (report_.joined < options_.connections && !report_.failed) {
    const std::int64_t now = monotonic_ns();
    if (now > deadline)
      return fail("not everybody had joined within " + std::to_string(options_.setup_timeout_s) + " s");
    while (next < options_.connections && joining_ < options_.connect_concurrency) {
      Connection& connection = connections_[next];
      if (is_listener(next)) {  // it joined with its request; `joined` may be here already
        ++next;
        continue;
      }
      connection.state = State::kJoining;
      ++joining_;
      ++rooms_[connection.room].members;
      queue(next++, kOpText, R"({"type":"join_room","room_id":")" + rooms_[connection.room].name + R"(","id":1})");
    }
    flush_dirty();
    show_progress("joining", now);
    turn(100 * kMillisecond);
  }
  report_.join_s = seconds_of(monotonic_ns() - start);
}

// Lets the joins' own events (user_joined to everybody) pass before anything is measured.
void Generator::settle() {
  const std::int64_t deadline = monotonic_ns() + 5 * kSecond;
  for (std::uint64_t seen = events_seen_ - 1; seen != events_seen_ && monotonic_ns() < deadline;) {
    seen = events_seen_;
    const std::int64_t until = monotonic_ns() + 200 * kMillisecond;
    for (std::int64_t now = monotonic_ns(); now < until; now = monotonic_ns()) turn(until - now);
  }
}

void Generator::hold() {
  begin_measuring(monotonic_ns());
  const std::int64_t until = monotonic_ns() + ns_of(options_.duration_s);
  for (std::int64_t now = monotonic_ns(); now < until; now = monotonic_ns()) {
    show_progress("holding", now);
    turn(std::min<std::int64_t>(until - now, 200 * kMillisecond));
  }
  end_measuring(monotonic_ns());
}

void Generator::close_all() {
  closing_ = true;
  std::uint32_t open = 0;
  const char normal[] = {0x03, static_cast<char>(0xE8)};
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    Connection& connection = connections_[i];
    if (connection.fd < 0) continue;
    if (connection.state < State::kOpen || is_listener(i) || is_publisher(i)) {
      drop(i, "");
      continue;
    }
    connection.out.clear();  // a message cut in two is no matter now: the server only sees a broken close
    queue(i, kOpClose, {normal, 2});
    ++open;
  }
  flush_dirty();
  const std::int64_t deadline = monotonic_ns() + 3 * kSecond;
  while (open > 0 && monotonic_ns() < deadline) {
    turn(50 * kMillisecond);
    open = static_cast<std::uint32_t>(
        std::count_if(connections_.begin(), connections_.end(), [](const Connection& c) { return c.fd >= 0; }));
  }
}

// ---- publishing ----

// False when there is no room for one more, or nobody left to say it.
bool Generator::publish_one(std::int64_t time_ns) {
  const Slot& slot = slots_[next_message_ & slot_mask_];
  if (slot.in_use != 0) return false;
  std::size_t tried = 0;
  while (connections_[streams_[next_stream_].connection].fd < 0) {
    if (++tried > streams_.size()) return false;
    next_stream_ = next_stream_ + 1 == streams_.size() ? 0 : next_stream_ + 1;
  }
  Stream& stream = streams_[next_stream_];
  next_slot(time_ns);
  queue(stream.connection, kOpText, stream.command_head, {slot.marker, kMarkerSize}, content_tail_);
  return true;
}

// Takes the next message's slot for the next stream.
const Generator::Slot& Generator::next_slot(std::int64_t time_ns) {
  Slot& slot = slots_[next_message_ & slot_mask_];
  Stream& stream = streams_[next_stream_];
  write_marker(slot.marker, run_id_ | (next_message_ & 0xFFFFFFFFU), static_cast<std::uint64_t>(time_ns));
  slot.stream = next_stream_;
  slot.local = ++stream.sent;
  slot.room = stream.room;
  slot.remaining = rooms_[stream.room].members;
  slot.time_ns = time_ns;
  slot.in_use = slot.remaining != 0;
  if (slot.in_use != 0) report_.max_outstanding = std::max(report_.max_outstanding, ++outstanding_);
  next_stream_ = next_stream_ + 1 == streams_.size() ? 0 : next_stream_ + 1;
  ++next_message_;
  ++report_.messages_sent;
  return slot;
}

// ---- publishing by HTTP ----

void Generator::open_publisher() {
  Connection& connection = connections_[options_.connections];
  connection.fd = socket(server_.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&server_), server_size_) != 0) {
    return fail(std::string("connect by HTTP: ") + std::strerror(errno));
  }
  fcntl(connection.fd, F_SETFL, O_NONBLOCK);
  connection.state = State::kOpen;
  watch(EPOLL_CTL_ADD, options_.connections, EPOLLIN);
}

// False when there is no room for so many messages, or no connection.
bool Generator::publish_request(std::int64_t time_ns) {
  Connection& connection = connections_[options_.connections];
  const std::uint32_t messages = std::max(options_.batch, 1U);
  if (connection.fd < 0) return false;
  for (std::uint32_t i = 0; i < messages; ++i) {
    if (slots_[(next_message_ + i) & slot_mask_].in_use != 0) return false;
  }
  connection.out += "POST ";
  body_.clear();
  if (options_.batch == 0) {
    const Slot& slot = next_slot(time_ns);
    body_.append(R"({"from":"bench","content":")").append(slot.marker, kMarkerSize).append(content_tail_);
    connection.out.append("/api/rooms/").append(rooms_[slot.room].name).append("/messages");
  } else {
    for (std::uint32_t i = 0; i < messages; ++i) {
      const Slot& slot = next_slot(time_ns);
      body_.append(i == 0 ? R"({"publishes":[{"room_id":")" : R"(,{"room_id":")").append(rooms_[slot.room].name);
      body_.append(R"(","from":"bench","content":")").append(slot.marker, kMarkerSize).append(content_tail_);
    }
    body_ += "]}";
    connection.out += "/api/batch";
  }
  connection.out.append(http_head_).append(std::to_string(body_.size())).append("\r\n\r\n").append(body_);
  if (!connection.in_dirty) {
    connection.in_dirty = true;
    dirty_.push_back(options_.connections);
  }
  unanswered_.push_back({time_ns, messages});
  return true;
}

void Generator::read_answers(std::uint32_t index, const char* data, std::size_t size) {
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  Connection& connection = connections_[index];
  std::string_view rest(data, size);
  while (!rest.empty()) {
    const std::size_t head_end = rest.find("\r\n\r\n");
    if (head_end == std::string_view::npos) break;
    const std::string_view head = rest.substr(0, head_end);
    const std::size_t field = head.find(kLength);
    if (field == std::string_view::npos) {
      ++report_.errors;
      return drop(index, "an answer without Content-Length: " + std::string(head.substr(0, 300)));
    }
    const std::size_t length = std::strtoul(head.data() + field + kLength.size(), nullptr, 10);
    if (rest.size() < head_end + 4 + length) break;
    on_answer(head, rest.substr(head_end + 4, length));
    rest.remove_prefix(head_end + 4 + length);
  }
  if (!rest.empty() || !connection.partial.empty()) connection.partial.assign(rest);
}

// A good answer tells of each message that it was kept.
void Generator::on_answer(std::string_view head, std::string_view body) {
  constexpr std::string_view kSeq = R"("seq":)";
  std::uint32_t kept = 0;
  for (std::size_t at = body.find(kSeq); at != std::string_view::npos; at = body.find(kSeq, at + kSeq.size())) ++kept;
  const Request request = unanswered_.empty() ? Request{} : unanswered_.front();
  if (unanswered_.empty() || !head.starts_with("HTTP/1.1 200 ") || kept != request.messages) {
    ++report_.errors;
    if (report_.first_error.empty()) {
      report_.first_error =
          "answer: " + std::string(head.substr(0, head.find('\r'))) + " " + std::string(body.substr(0, 300));
    }
  }
  if (unanswered_.empty()) return;
  unanswered_.pop_front();
  ++answered_;
  if (request.time_ns >= measure_from_ns_) report_.latency.add(now_ns_ - request.time_ns);
}

void Generator::publish_all() {
  const bool scheduled = options_.mode == Mode::kRate;
  const std::int64_t start = monotonic_ns();
  const std::int64_t measure_at = start + ns_of(options_.warmup_s);
  const std::int64_t end = measure_at + ns_of(options_.duration_s);
  const double interval = scheduled ? 1e9 / options_.rate : 0;
  const auto due = [&](std::uint64_t n) {
    return start + static_cast<std::int64_t>(interval * static_cast<double>(n));
  };
  measure_from_ns_ = measure_at;
  bool measuring = false;
  std::uint64_t seen = progress();
  std::int64_t progress_at = start;
  std::int64_t now = start;
  const auto publish_due = [&] {
    for (std::int64_t at = due(next_message_); at <= now && at < end && publish_one(at); at = due(next_message_)) {
      if (at < measure_at) continue;
      if (now - at > kMillisecond) ++report_.late;
      if (now > due(next_message_)) ++report_.behind;
    }
  };
  for (;;) {
    if (!measuring && now >= measure_at) {
      measuring = true;
      begin_measuring(now);
    }
    if (now >= end) break;
    if (scheduled) {
      publish_due();
    } else if (options_.publish_http) {
      while (unanswered_.size() < options_.window && publish_request(now)) {
      }
      if (connections_[options_.connections].fd < 0) break;
    } else {
      while (outstanding_ < options_.window && publish_one(now)) {
      }
    }
    flush_dirty();
    if (progress() != seen || (outstanding_ == 0 && unanswered_.empty())) {
      seen = progress();
      progress_at = now;
    } else if (now - progress_at > ns_of(options_.stall_timeout_s)) {
      report_.stalled = true;
      break;
    }
    show_progress(measuring ? "measuring" : "warming up", now);
    std::int64_t wait = std::min((measuring ? end : measure_at) - now, 200 * kMillisecond);
    if (scheduled) wait = std::clamp<std::int64_t>(due(next_message_) - monotonic_ns(), 0, wait);
    turn(wait);
    now = monotonic_ns();
  }
  if (scheduled) {
    // What fell due while the last turn ran is late, not forgiven.
    if (!report_.stalled) publish_due();
    flush_dirty();
    while (due(next_message_ + report_.unsent) < end) ++report_.unsent;
  }
  if (!measuring) begin_measuring(now);
  end_measuring(now);

  // Drain: as long as something comes. What does not come any more is lost.
  const std::int64_t latest = now + 60 * kSecond;
  progress_at = now;
  while ((outstanding_ > 0 || !unanswered_.empty()) && now < latest &&
         now - progress_at < ns_of(options_.stall_timeout_s) && !report_.stalled) {
    if (progress() != seen) {
      seen = progress();
      progress_at = now;
    }
    show_progress("draining", now);
    turn(100 * kMillisecond);
    flush_dirty();
    now = monotonic_ns();
  }
  // And a moment more for copies that should not be.
  for (const std::int64_t until = now + 100 * kMillisecond; now < until; now = monotonic_ns()) turn(until - now);
  for (const Slot& slot : slots_) report_.lost += slot.in_use != 0 ? slot.remaining : 0;
  if (!unanswered_.empty()) {
    report_.errors += unanswered_.size();
    if (report_.first_error.empty()) report_.first_error = "requests without an answer";
  }
}

void Generator::begin_measuring(std::int64_t now_ns) {
  measure_started_ns_ = now_ns;
  delivered_before_ = delivered_;
  answered_before_ = answered_;
  generator_cpu_before_ = cpu_seconds(getpid()).value_or(0);
  if (options_.server_pid > 0) server_cpu_before_ = cpu_seconds(options_.server_pid);
}

void Generator::end_measuring(std::int64_t now_ns) {
  if (options_.server_pid > 0) {
    const auto now = cpu_seconds(options_.server_pid);
    if (now && server_cpu_before_) report_.server_cpu_s = *now - *server_cpu_before_;
  }
  report_.generator_cpu_s = cpu_seconds(getpid()).value_or(0) - generator_cpu_before_;
  report_.measured_s = seconds_of(now_ns - measure_started_ns_);
  report_.deliveries = delivered_ - delivered_before_;
  report_.requests = answered_ - answered_before_;
}

// ---- the turn ----

void Generator::watch(int operation, std::uint32_t index, std::uint32_t what) {
  epoll_event event{};
  event.events = what;
  event.data.u32 = index;
  epoll_ctl(epoll_, operation, connections_[index].fd, &event);
}

void Generator::queue(std::uint32_t index, unsigned opcode, std::string_view first, std::string_view second,
                      std::string_view third) {
  Connection& connection = connections_[index];
  append_masked(connection.out, opcode, static_cast<std::uint32_t>(random_()), first, second, third);
  if (connection.in_dirty) return;
  connection.in_dirty = true;
  dirty_.push_back(index);
}

void Generator::flush_dirty() {
  for (const std::uint32_t index : dirty_) {
    connections_[index].in_dirty = false;
    flush(index);
  }
  dirty_.clear();
}

void Generator::flush(std::uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.fd < 0 || connection.out.empty()) return;
  const ssize_t sent = send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != ENOTCONN) return;  // the read side tells why
  if (sent > 0) connection.out.erase(0, static_cast<std::size_t>(sent));
  if (connection.out.empty() == !connection.wants_write) return;
  connection.wants_write = !connection.out.empty();
  watch(EPOLL_CTL_MOD, index, connection.wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

// HOT PATH
void Generator::turn(std::int64_t timeout_ns) {
  if (options_.spin) timeout_ns = 0;
  const timespec timeout{timeout_ns / kSecond, timeout_ns % kSecond};
  int count = epoll_pwait2(epoll_, events_.data(), static_cast<int>(events_.size()), &timeout, nullptr);
  if (count < 0 && errno == ENOSYS) {  // before Linux 5.11
    count = epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()),
                       static_cast<int>((timeout_ns + kMillisecond - 1) / kMillisecond));
  }
  for (int i = 0; i < count; ++i) {
    const std::uint32_t index = events_[i].data.u32;
    if ((events_[i].events & EPOLLOUT) != 0) flush(index);
    if ((events_[i].events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) on_readable(index);
  }
  if (!dirty_.empty()) flush_dirty();  // pongs
}

// HOT PATH. One recv into the one buffer, behind what the last one left unfinished.
void Generator::on_readable(std::uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.fd < 0) return;
  const std::size_t kept = connection.partial.size();
  if (kept != 0) std::memcpy(buffer_.get(), connection.partial.data(), kept);
  const ssize_t got = recv(connection.fd, buffer_.get() + kept, buffer_size_ - kept, 0);
  if (got <= 0) {
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    return drop(index, got == 0 ? "the server closed the connection" : std::strerror(errno));
  }
  now_ns_ = monotonic_ns();
  const char* data = buffer_.get();
  const std::size_t size = kept + static_cast<std::size_t>(got);
  if (is_publisher(index)) return read_answers(index, data, size);
  if (is_listener(index)) {
    return options_.transport == Transport::kSse ? read_stream(index, data, size) : read_poll(index, data, size);
  }
  std::size_t used = 0;
  if (connection.state < State::kOpen) {
    used = on_response(index, data, size);
    if (used == 0 || connection.fd < 0) {
      if (connection.fd >= 0) connection.partial.assign(data, size);
      return;
    }
  }
  const ScanResult result = scan_frames(data + used, size - used, [&](const Frame& frame) {
    if (frame.opcode == kOpText && frame.fin && !frame.compressed) {
      on_text(index, frame.data, frame.size);
    } else {
      on_rare_frame(index, frame);
    }
    return connection.fd >= 0;
  });
  if (connection.fd < 0) return;
  if (result.broken) {
    ++report_.errors;
    return drop(index, "the server sent a broken frame");
  }
  used += result.consumed;
  if (used == size && kept == 0) return;
  connection.partial.assign(data + used, size - used);
  if (result.wanted > kMaxFrame) {
    ++report_.errors;
    return drop(index, "the server sent a frame above 64 MiB");
  }
  if (result.wanted > buffer_size_) {
    buffer_size_ = result.wanted + 65536;
    buffer_ = std::make_unique<char[]>(buffer_size_);
  }
}

std::size_t Generator::on_response(std::uint32_t index, const char* data, std::size_t size) {
  const std::string_view text(data, size);
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (size > 16384) drop(index, "the handshake's answer does not end");
    return 0;
  }
  const std::string_view head = text.substr(0, end + 2);
  if (!head.starts_with("HTTP/1.1 101")) {
    drop(index, "handshake refused: " + std::string(text.substr(0, std::min<std::size_t>(size, 300))));
    return 0;
  }
  const std::string lowered = lower(head);
  const auto value_of = [&](std::string_view name) -> std::string_view {
    const std::size_t at = lowered.find(name);
    if (at == std::string::npos) return {};
    std::string_view value = head.substr(at + name.size());
    value = value.substr(0, value.find("\r\n"));
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
    return value;
  };
  if (value_of("\r\nsec-websocket-accept:") != accept_) {
    drop(index, "handshake: wrong Sec-WebSocket-Accept");
    return 0;
  }
  const std::string_view extensions = value_of("\r\nsec-websocket-extensions:");
  if (options_.deflate && extensions.find("server_no_context_takeover") == std::string_view::npos) {
    drop(index, extensions.empty() ? "the server does not take permessage-deflate"
                                   : "the server insists on a compression context a connection");
    return 0;
  }
  --handshaking_;
  ++report_.connected;
  connections_[index].state = State::kOpen;
  return end + 4;
}

// ---- listeners by Server-Sent Events or polling ----

bool Generator::is_listener(std::uint32_t index) const {
  if (options_.transport == Transport::kWebSocket) return false;
  return options_.mode == Mode::kIdle || options_.publish_http || index >= options_.publishers * options_.rooms;
}

std::string Generator::listener_request(std::uint32_t index) const {
  const bool sse = options_.transport == Transport::kSse;
  std::string request = sse ? "GET /events/" : "GET /poll/";
  request += options_.user_prefix + std::to_string(index) + (sse ? "?" : "?timeout=100&");
  if (options_.join) request += "room=" + rooms_[connections_[index].room].name;
  return request + host_line_;
}

void Generator::listener_joined(std::uint32_t index) {
  if (connections_[index].state == State::kJoined) return;
  connections_[index].state = State::kJoined;
  ++rooms_[connections_[index].room].members;
  ++report_.joined;
}

std::size_t Generator::on_stream_head(std::uint32_t index, const char* data, std::size_t size) {
  const std::string_view text(data, size);
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return 0;
  if (!text.starts_with("HTTP/1.1 200")) {
    drop(index, "refused: " + std::string(text.substr(0, std::min<std::size_t>(size, 300))));
    return 0;
  }
  if (connections_[index].state < State::kOpen) {
    --handshaking_;
    ++report_.connected;
    connections_[index].state = State::kOpen;
  }
  return end + 4;
}

// HOT PATH. Whole blocks only; each event's JSON is one line, for we lay ours out so.
void Generator::read_stream(std::uint32_t index, const char* data, std::size_t size) {
  Connection& connection = connections_[index];
  std::size_t used = 0;
  if (connection.state < State::kOpen) {
    used = on_stream_head(index, data, size);
    if (connection.fd < 0) return;
  }
  constexpr std::string_view kMessageBlock = "event: message\ndata: ";
  while (connection.state >= State::kOpen) {
    if (size - used > kMessageBlock.size() &&
        std::memcmp(data + used, kMessageBlock.data(), kMessageBlock.size()) == 0) {
      const char* json = data + used + kMessageBlock.size();
      const auto left = static_cast<std::size_t>(data + size - json);
      const auto* line_end = static_cast<const char*>(std::memchr(json, '\n', left));
      if (line_end == nullptr || line_end + 1 == data + size) break;
      if (line_end[1] == '\n') {
        on_message(index, json, static_cast<std::size_t>(line_end - json));
        used = static_cast<std::size_t>(line_end + 2 - data);
        continue;
      }
    }
    const auto* end = static_cast<const char*>(memmem(data + used, size - used, "\n\n", 2));
    if (end == nullptr) break;
    const std::string_view block(data + used, static_cast<std::size_t>(end - data) - used);
    used += block.size() + 2;
    constexpr std::string_view kData = "\ndata: ";
    const std::size_t at = block.find(kData);
    if (at == std::string_view::npos) continue;  // a comment, or `retry`
    if (block.starts_with("event: joined\n")) listener_joined(index);
    on_text(index, block.data() + at + kData.size(), block.size() - at - kData.size());
    if (connection.fd < 0) return;
  }
  if (connection.partial.empty() && used == size) return;
  connection.partial.assign(data + used, size - used);
}

// Only for --idle: every answer is followed by the next poll.
void Generator::read_poll(std::uint32_t index, const char* data, std::size_t size) {
  Connection& connection = connections_[index];
  const std::string_view text(data, size);
  const std::size_t head = text.find("\r\n\r\n");
  const std::size_t field = text.find("Content-Length: ");
  const std::size_t length = field < head ? std::strtoul(data + field + 16, nullptr, 10) : 0;
  if (head == std::string_view::npos || size < head + 4 + length) {
    connection.partial.assign(data, size);
    return;
  }
  connection.partial.clear();
  if (on_stream_head(index, data, size) == 0) return;
  const std::string_view body = text.substr(head + 4, length);
  if (!options_.join || body.find(R"("type":"joined")") != std::string_view::npos) listener_joined(index);
  ++events_seen_;
  const std::size_t cursor = body.rfind(R"("cursor":")");
  if (cursor == std::string_view::npos) return drop(index, "a poll's answer without a cursor");
  std::string_view value = body.substr(cursor + 10);
  value = value.substr(0, value.find('"'));
  connection.out += "GET /poll/" + options_.user_prefix + std::to_string(index) +
                    "?timeout=100&cursor=" + std::string(value) + host_line_;
  flush(index);
}

void Generator::on_rare_frame(std::uint32_t index, const Frame& frame) {
  Connection& connection = connections_[index];
  if (frame.opcode == kOpPing) {
    queue(index, kOpPong, {frame.data, frame.size});
    return;
  }
  if (frame.opcode == kOpPong) return;
  if (frame.opcode == kOpClose) {
    std::string why = "closed by the server";
    if (frame.size >= 2) {
      const auto* p = reinterpret_cast<const unsigned char*>(frame.data);
      why += " with code " + std::to_string(p[0] << 8U | p[1]) + " " + std::string(frame.data + 2, frame.size - 2);
    }
    return drop(index, why);
  }
  if (frame.opcode == kOpText && frame.fin) {
    const std::string_view text = inflate_text(frame.data, frame.size);
    if (text.data() == nullptr) return drop(index, "a compressed frame that zlib does not take");
    return on_text(index, text.data(), text.size());
  }
  // The first byte kept says whether the whole message is compressed.
  if (frame.opcode == kOpText) connection.fragments.assign(1, frame.compressed ? 'z' : 'p');
  if (connection.fragments.empty() || (frame.opcode != kOpText && frame.opcode != kOpContinuation)) {
    ++report_.errors;
    return drop(index, "the server sent a frame out of place");
  }
  connection.fragments.append(frame.data, frame.size);
  if (!frame.fin) return;
  const std::string message = std::move(connection.fragments);
  connection.fragments.clear();
  if (message.front() == 'p') return on_text(index, message.data() + 1, message.size() - 1);
  const std::string_view text = inflate_text(message.data() + 1, message.size() - 1);
  if (text.data() == nullptr) return drop(index, "a compressed message that zlib does not take");
  on_text(index, text.data(), text.size());
}

// The plain text, in a buffer that the next call overwrites; null when it cannot be had.
std::string_view Generator::inflate_text(const char* data, std::size_t size) {
  if (!inflater_ready_ || inflateReset(&inflater_) != Z_OK) return {};
  if (inflated_.size() < 65536) inflated_.resize(65536);
  static const char tail[] = {0, 0, static_cast<char>(0xFF), static_cast<char>(0xFF)};
  std::size_t made = 0;
  for (int part = 0; part < 2; ++part) {
    inflater_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part == 0 ? data : tail));
    inflater_.avail_in = static_cast<uInt>(part == 0 ? size : sizeof tail);
    do {
      if (made == inflated_.size()) inflated_.resize(made * 2);
      if (made > kMaxFrame) return {};
      inflater_.next_out = reinterpret_cast<Bytef*>(inflated_.data() + made);
      inflater_.avail_out = static_cast<uInt>(inflated_.size() - made);
      const int result = inflate(&inflater_, Z_SYNC_FLUSH);
      made = inflated_.size() - inflater_.avail_out;
      if (result == Z_STREAM_END) break;
      if (result != Z_OK && result != Z_BUF_ERROR) return {};
    } while (inflater_.avail_out == 0 || inflater_.avail_in != 0);
  }
  return {inflated_.data(), made};
}

void Generator::on_text(std::uint32_t index, const char* data, std::size_t size) {
  if (size > kMessageHead.size() && std::memcmp(data, kMessageHead.data(), kMessageHead.size()) == 0) {
    on_message(index, data, size);
  } else {
    on_other_event(index, {data, size});
  }
}

// HOT PATH. Once for each delivery: finds the marker, compares all of the content with what was sent, checks that it
// is the next one of its publisher on this connection, and counts.
void Generator::on_message(std::uint32_t index, const char* data, std::size_t size) {
  const std::uint32_t room_index = connections_[index].room;
  Room& room = rooms_[room_index];
  std::size_t at = room.content_at;
  if (at + kContentHead.size() > size || std::memcmp(data + at, kContentHead.data(), kContentHead.size()) != 0) {
    const auto* found = static_cast<const char*>(memmem(data, size, kContentHead.data(), kContentHead.size()));
    if (found == nullptr) {
      ++report_.foreign;
      return;
    }
    at = static_cast<std::size_t>(found - data);
    room.content_at = static_cast<std::uint32_t>(at);
  }
  const char* marker = data + at + kContentHead.size();
  const std::size_t left = size - at - kContentHead.size();
  if (left < run_marker_.size() || std::memcmp(marker, run_marker_.data(), run_marker_.size()) != 0) {
    ++report_.foreign;
    return;
  }
  if (left < options_.size + 1U) {
    ++report_.corrupt;
    return;
  }
  const std::uint32_t number = marker_index(marker);
  Slot& slot = slots_[number & slot_mask_];
  if (std::memcmp(marker, slot.marker, kMarkerSize) != 0 ||
      std::memcmp(marker + kMarkerSize, content_tail_.data(), content_tail_.size() - 1) != 0) {
    // A slot is only used again when all members had the old message: then this is one more of it.
    ++(number + slots_.size() <= next_message_ ? report_.duplicates : report_.corrupt);
    return;
  }
  if (slot.room != room_index) {
    ++report_.misrouted;
    return;
  }
  const std::size_t place =
      options_.publishers == 1 ? index : std::size_t{index} * options_.publishers + slot.stream / options_.rooms;
  if (slot.local != last_[place] + 1 || slot.in_use == 0) return on_unusual_delivery(place, slot);
  last_[place] = slot.local;
  count_delivery(slot);
}

void Generator::count_delivery(Slot& slot) {
  ++delivered_;
  if (slot.time_ns >= measure_from_ns_ && !options_.publish_http) report_.latency.add(now_ns_ - slot.time_ns);
  if (--slot.remaining != 0) return;
  slot.in_use = 0;
  --outstanding_;
  ++report_.messages_completed;
}

void Generator::on_unusual_delivery(std::size_t place, Slot& slot) {
  if (slot.in_use != 0 && slot.local > last_[place]) {
    for (std::uint32_t local = last_[place] + 1; local < slot.local; ++local) missing_[place].insert(local);
    last_[place] = slot.local;
    return count_delivery(slot);
  }
  const auto missing = missing_.find(place);
  if (slot.in_use == 0 || missing == missing_.end() || missing->second.erase(slot.local) == 0) {
    ++report_.duplicates;
    return;
  }
  ++report_.reordered;
  count_delivery(slot);
}

void Generator::on_other_event(std::uint32_t index, std::string_view text) {
  ++events_seen_;
  Connection& connection = connections_[index];
  if (text.starts_with(R"({"type":"joined")")) {
    if (connection.state != State::kJoining) return;
    connection.state = State::kJoined;
    --joining_;
    ++report_.joined;
  } else if (text.starts_with(R"({"type":"error")")) {
    ++report_.errors;
    if (report_.first_error.empty()) report_.first_error = text.substr(0, 300);
    if (connection.state == State::kJoining) fail("join refused: " + std::string(text.substr(0, 300)));
  }
}

// A connection is gone. What it has not got of the messages under way, it will not get: those are lost.
void Generator::drop(std::uint32_t index, const std::string& why) {
  Connection& connection = connections_[index];
  close(connection.fd);
  connection.fd = -1;
  const State before = connection.state;
  connection.state = State::kClosed;
  if (closing_) return;
  if (before < State::kOpen) {
    --handshaking_;
    return fail(why);
  }
  ++report_.disconnects;
  if (report_.first_error.empty()) report_.first_error = why;
  if (before == State::kJoining) return fail(why);
  if (before != State::kJoined) return;
  --rooms_[connection.room].members;
  for (Slot& slot : slots_) {
    if (slot.in_use == 0 || slot.room != connection.room) continue;
    const std::size_t place = std::size_t{index} * options_.publishers + slot.stream / options_.rooms;
    const auto missing = missing_.find(place);
    const bool had_it =
        slot.local <= last_[place] && (missing == missing_.end() || missing->second.count(slot.local) == 0);
    if (had_it) continue;
    ++report_.lost;
    if (--slot.remaining != 0) continue;
    slot.in_use = 0;
    --outstanding_;
  }
}

void Generator::show_progress(const char* phase, std::int64_t now_ns) {
  if (!options_.progress || now_ns - progress_ns_ < kSecond / 2) return;
  const double rate =
      progress_ns_ == 0 ? 0 : static_cast<double>(delivered_ - progress_delivered_) / seconds_of(now_ns - progress_ns_);
  std::fprintf(stderr, "\r\033[K%s: %u connected, %u joined, %llu messages sent, %.0f deliveries/s, p99 %.2f ms", phase,
               report_.connected, report_.joined, static_cast<unsigned long long>(report_.messages_sent), rate,
               static_cast<double>(report_.latency.percentile(99)) * 1e-6);
  std::fflush(stderr);
  progress_ns_ = now_ns;
  progress_delivered_ = delivered_;
  progress_shown_ = true;
}

}  // namespace hubbub::bench
