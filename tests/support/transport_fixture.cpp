#include "support/transport_fixture.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "hubbub/hub/home_shard.hpp"
#include "hubbub/protocol/event.hpp"
#include "hubbub/transport/http_session.hpp"
#include "hubbub/transport/websocket_connection.hpp"

namespace hubbub::test {

namespace {
// The longest way on which no byte moves: request, other shard, home shard, back, refill; and as many again.
constexpr int kSettleRounds = 16;
}  // namespace

TransportFixture::TransportFixture(const TransportFixtureOptions& options)
    : pool(options.shards, 65536, clock),
      manager(pool, options.limits,
              [this, &options](runtime::Shard&, broker::BrokerSink& sink, broker::PresenceSink&) {
                auto made = std::make_unique<broker::MemoryBroker>(clock, options.broker, sink);
                brokers.push_back(made.get());
                return std::make_unique<broker::LocalBackend>(std::move(made));
              }),
      context{manager, options.transport} {
  transport::add_websocket_routes(context.router, false);
  transport::add_http_session_routes(context.router);
  for (unsigned i = 0; i < pool.size(); ++i) {
    transports.push_back(std::make_unique<transport::ShardTransport>(context, pool[i]));
    context.transports.push_back(transports.back().get());
  }
}

TransportFixture::~TransportFixture() {
  settle();
  transports.clear();
}

int TransportFixture::connect(unsigned shard) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  pool[shard].connection_count().fetch_add(1);
  pool[shard].post([t = transports[shard].get(), fd = ends[1]] { t->accept(fd, 0); });
  return ends[0];
}

void TransportFixture::settle() {
  for (int round = 0; round < kSettleRounds; ++round) {
    for (unsigned i = 0; i < pool.size(); ++i) turn(i);
  }
}

void TransportFixture::advance_ms(std::int64_t ms) {
  clock.advance_ms(ms);
  settle();
}

void TransportFixture::publish(broker::StreamKey stream, const Json& content) {
  auto request = std::make_unique<hub::PublishRequest>();
  request->from = base::SharedString("pub");
  broker::Publication& publication = request->publication;
  publication.unix_ms = clock.unix_ms();
  const std::string text = content.dump();
  const base::SharedString id = stream.id;
  if (stream.kind == broker::StreamKind::kRoom) {
    publication.type = "message";
    protocol::append_message_body(publication.body, {.room_id = id.view(), .from = "pub", .content = text});
    request->room = id;
    manager.post_home(id,
                      [r = std::move(request)](hub::HomeShard& home) mutable { home.publish_to_room(std::move(r)); });
  } else {
    publication.type = "direct_message";
    protocol::append_direct_message_body(publication.body, {.from = "pub", .to_user = id.view(), .content = text});
    request->to_user = id;
    manager.post_home(id,
                      [r = std::move(request)](hub::HomeShard& home) mutable { home.publish_direct(std::move(r)); });
  }
}

broker::Page TransportFixture::page(const broker::StreamKey& stream) {
  broker::Page result;
  brokers[manager.home_index(stream.id)]->read(stream, {.from = broker::ReadRange::From::kSince, .seq = 0, .limit = 0},
                                               [&result](base::Result<broker::Page> page) { result = *page; });
  return result;
}

// ------------------------------------------------------------------------------------------------------------- Socket

Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), at_end_(other.at_end_), bytes_(std::move(other.bytes_)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  close();
  fd_ = std::exchange(other.fd_, -1);
  at_end_ = other.at_end_;
  bytes_ = std::move(other.bytes_);
  return *this;
}

void Socket::send(std::string_view bytes) {
  if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) at_end_ = true;
}

void Socket::read(std::size_t max) {
  std::array<char, 16384> buffer;
  while (max != 0 && fd_ >= 0) {
    const ssize_t n = ::recv(fd_, buffer.data(), std::min(buffer.size(), max), 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) at_end_ = true;
      return;
    }
    bytes_.append(buffer.data(), static_cast<std::size_t>(n));
    max -= static_cast<std::size_t>(n);
  }
}

void Socket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

// ------------------------------------------------------------------------------------------------------------- parsing

bool take_head(std::string& bytes, std::string& head) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  head = bytes.substr(0, end + 2);
  bytes.erase(0, end + 4);
  return true;
}

bool take_response(std::string& bytes, Response& response) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  const std::size_t field = bytes.find("Content-Length: ");
  const std::size_t size = field < end ? std::stoul(bytes.substr(field + 16)) : 0;
  if (bytes.size() < end + 4 + size) return false;
  take_head(bytes, response.head);
  response.status = std::stoi(response.head.substr(9, 3));
  response.body = bytes.substr(0, size);
  bytes.erase(0, size);
  return true;
}

// As the standard has it (WHATWG HTML 9.2.6), for line ends by line feed.
bool take_sse_block(std::string& bytes, SseBlock& block) {
  const std::size_t end = bytes.find("\n\n");
  if (end == std::string::npos) return false;
  block = {};
  std::string_view rest(bytes.data(), end + 1);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    const std::size_t colon = line.find(':');
    if (colon == 0) continue;
    const std::string_view name = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (name == "event") block.event = value;
    if (name == "id") {
      block.id = value;
      block.has_id = true;
    }
    if (name != "data") continue;
    if (block.has_data) block.data += '\n';
    block.data += value;
    block.has_data = true;
  }
  bytes.erase(0, end + 2);
  return true;
}

bool take_frame(std::string& bytes, unsigned& opcode, std::string& payload) {
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i])); };
  if (bytes.size() < 2) return false;
  std::size_t header = 2;
  std::size_t size = byte(1);
  if (size > 127) throw std::runtime_error("a masked frame from the server");
  const std::size_t extra = size == 126 ? 2 : size == 127 ? 8 : 0;
  if (bytes.size() < header + extra) return false;
  if (extra != 0) {
    size = 0;
    for (std::size_t i = 0; i < extra; ++i) size = size << 8 | byte(header + i);
    header += extra;
  }
  if (bytes.size() < header + size) return false;
  opcode = static_cast<unsigned>(byte(0) & 15);
  payload = bytes.substr(header, size);
  bytes.erase(0, header + size);
  return true;
}

std::string client_frame(std::string_view text) {
  std::string frame = "\x81";
  if (text.size() < 126) {
    frame += static_cast<char>(0x80 | text.size());
  } else {
    frame += static_cast<char>(0x80 | 126);
    frame += static_cast<char>(text.size() >> 8 & 0xff);
    frame += static_cast<char>(text.size() & 0xff);
  }
  frame.append(4, '\0');  // a mask of zeros
  return frame.append(text);
}

std::string websocket_request(std::string_view target) {
  return "GET " + std::string(target) +
         " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
}

}  // namespace hubbub::test
