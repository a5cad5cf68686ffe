#include "hubbub/transport/http_connection.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdio>
#include <ctime>
#include <exception>
#include <utility>

#include "hubbub/base/ascii.hpp"
#include "hubbub/protocol/event.hpp"
#include "hubbub/transport/sse_connection.hpp"
#include "hubbub/transport/websocket_connection.hpp"

namespace hubbub::transport {

namespace http = boost::beast::http;
using protocol::ErrorCode;

namespace {

// More than this of unanswered pipelined requests and we stop reading until the peer reads our answers.
constexpr std::size_t kMaxQueuedResponseBytes = 256 * 1024;
constexpr std::size_t kMaxQueuedRequestBytes = 64 * 1024;
// The least that a chunked body ends with: "0\r\n\r\n".
constexpr std::size_t kLastChunkBytes = 5;

// RFC 9110 6.6.1; formatted once a second a thread.
std::string_view http_date(std::int64_t unix_ms) {
  thread_local std::time_t known = 0;
  thread_local char text[32];
  thread_local std::size_t size = 0;
  const auto now = static_cast<std::time_t>(unix_ms / 1000);
  if (now != known) {
    std::tm tm{};
    ::gmtime_r(&now, &tm);
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char format[32];
    // Names by hand: strftime's depend on the locale.
    std::snprintf(format, sizeof format, "%s, %%d %s %%Y %%H:%%M:%%S GMT", kDays[tm.tm_wday], kMonths[tm.tm_mon]);
    size = std::strftime(text, sizeof text, format, &tm);
    known = now;
  }
  return {text, size};
}

// obs-fold (RFC 9112 5.2) is where two readers of one request come to differ; Beast would unfold it.
bool has_folded_line(std::string_view header) {
  for (std::size_t at = header.find('\n'); at != std::string_view::npos && at + 1 < header.size();
       at = header.find('\n', at + 1)) {
    if (header[at + 1] == ' ' || header[at + 1] == '\t') return true;
  }
  return false;
}

// Where the header ends in `bytes`, of which the start line is gone or not: an empty line right behind that is the end
// too. npos: not yet.
std::size_t header_end(std::string_view bytes, bool in_fields) {
  if (in_fields && bytes.starts_with("\r\n")) return 2;
  const std::size_t at = bytes.find("\r\n\r\n");
  return at == std::string_view::npos ? at : at + 4;
}

}  // namespace

class HttpConnection::Parser final : public HttpRequest {
 public:
  Parser(const TransportOptions& options) {
    parser.header_limit(static_cast<std::uint32_t>(options.http_header_max_bytes));
    parser.body_limit(options.http_body_max_bytes);
  }

  std::string_view method() const override { return parser.get().method_string(); }
  std::string_view body() const override { return parser.get().body(); }
  bool is_http_1_1() const override { return parser.get().version() >= 11; }
  std::string header(std::string_view name) const override {
    std::string joined;
    const auto [first, last] = fields().equal_range(boost::beast::string_view(name.data(), name.size()));
    for (auto field = first; field != last; ++field) {
      if (!joined.empty()) joined += ", ";
      joined.append(field->value());
    }
    return joined;
  }
  std::size_t count(http::field name) const { return fields().count(name); }
  /// The header is whole. Beast puts a chunked body's trailers among its fields, where one could pass for a header that
  /// a proxy before us has looked at (RFC 9110 6.5.1): what counts is kept apart before they come.
  void seal_header() {
    header_seen = true;
    keep_alive = parser.keep_alive();
    if (parser.chunked()) header_fields_ = std::make_unique<http::fields>(parser.get());
  }
  void set_target(Target target, const Segments& segments) {
    target_ = target;
    segments_ = segments;
  }

  http::request_parser<http::string_body> parser;
  std::size_t header_bytes = 0;  // that Beast has consumed; not 0: the start line is among them
  bool header_seen = false;
  bool keep_alive = false;  // once the header is seen
  bool is_head = false;     // known before Beast knows the method: what is refused early must not get a body either

 private:
  const http::fields& fields() const { return header_fields_ ? *header_fields_ : parser.get(); }
  std::unique_ptr<const http::fields> header_fields_;  // of a chunked request
};

HttpConnection::HttpConnection(ShardTransport& transport, int fd, std::uint64_t address_hash)
    : TransportConnection(transport, fd, address_hash) {}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
  if (!watch()) return close_now();
  arm_timer(transport().options().handshake_timeout_ms);
  // With TCP_DEFER_ACCEPT or a fast client the request is often there already.
  on_readable();
}

void HttpConnection::on_readable() {
  const std::span<char> buffer = shard().read_buffer();
  const std::ptrdiff_t n = read_some(buffer);
  if (n > 0 && deferred_ != 0) {
    // The next request waits for its turn. Reading goes on for a while, because it also tells that the peer has gone.
    input_.append(buffer.data(), static_cast<std::size_t>(n));
    if (input_.size() > kMaxQueuedRequestBytes) set_reading(false);
  } else if (n > 0) {
    consume({buffer.data(), static_cast<std::size_t>(n)});
  } else if (n == 0) {
    close_after_answers();
  } else if (n != -EAGAIN) {
    close_now();
  }
}

void HttpConnection::close_after_answers() {
  // It may have sent its last request and wait for the answers (RFC 9112 9.6). Not for a poll's: that may come in half
  // a minute, and who polls and says no more has nearly always gone.
  if (deferred_ != 0 && waiter_ == nullptr) {
    deferred_keep_alive_ = false;
    return set_reading(false);
  }
  if (queued_bytes() == 0) return close_now();
  close_gracefully(transport().options().close_timeout_ms);
}

void HttpConnection::consume(std::string_view bytes) {
  std::string joined;
  if (!input_.empty()) {
    joined = std::exchange(input_, {});
    joined.append(bytes);
    bytes = joined;
  }
  while (!bytes.empty() && !is_closing() && !upgraded_) {
    if (queued_bytes() > kMaxQueuedResponseBytes) {
      set_reading(false);  // on_drained goes on
      break;
    }
    if (!parser_) {
      // An empty line before a request is to be ignored (RFC 9112 2.2).
      if (bytes.starts_with("\r\n")) {
        bytes.remove_prefix(2);
        continue;
      }
      parser_ = std::make_unique<Parser>(transport().options());
      arm_timer(transport().options().handshake_timeout_ms);
    }
    const std::size_t used = parse(bytes);
    if (is_closing() || upgraded_) return;
    bytes.remove_prefix(used);
    if (!parser_->parser.is_done()) break;  // eager: it took all that it can take
    unread_ = bytes;
    handle();
    if (is_closing() || upgraded_) return;
    parser_.reset();
    if (deferred_ != 0) break;
    arm_timer(transport().options().http_idle_timeout_ms);
  }
  if (!is_closing() && !upgraded_) input_.assign(bytes);
}

void HttpConnection::adopt(std::unique_ptr<Parser> parser, std::string unread) {
  if (!watch()) return close_now();
  parser_ = std::move(parser);
  unread_ = unread;
  handle();
  if (is_closing() || upgraded_) return;
  parser_.reset();
  input_ = std::move(unread);
  if (deferred_ != 0) return;
  arm_timer(transport().options().http_idle_timeout_ms);
  if (!input_.empty()) consume(std::exchange(input_, {}));
}

std::size_t HttpConnection::parse(std::string_view bytes) {
  auto& parser = parser_->parser;
  const std::size_t limit = transport().options().http_header_max_bytes;
  boost::system::error_code error;
  std::size_t used = 0;
  const bool had_header = parser_->header_seen;
  if (!had_header) {
    const bool in_fields = parser_->header_bytes != 0;
    if (!in_fields) parser_->is_head = bytes.starts_with("HEAD ");
    const std::size_t end = header_end(bytes, in_fields);
    // Beast compares its limit with what it has yet to consume, not with what arrived.
    if (parser_->header_bytes + std::min(end, bytes.size()) > limit) {
      refuse_long_header(bytes);
      return 0;
    }
    if (has_folded_line(bytes.substr(0, end))) {
      refuse(ErrorCode::kBadRequest, "A header line is folded.");
      return 0;
    }
    used = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);  // not eager yet: the header alone
    parser_->header_bytes += used;
    if (parser.is_header_done()) {
      parser_->seal_header();
      if (!check_framing()) return used;
      parser.eager(true);
    }
  }
  const std::string_view rest = bytes.substr(used);
  // Beast asserts that it never has less of a last chunk twice, and no chunked body ends sooner.
  const std::size_t least = parser.is_header_done() && parser.chunked() ? kLastChunkBytes : 1;
  if (parser_->header_seen && !parser.is_done() && rest.size() >= least) {
    used += parser.put(boost::asio::buffer(rest.data(), rest.size()), error);
  }
  if (!had_header && parser_->header_seen && !parser.is_done() && !error && parser_->is_http_1_1() &&
      has_token(parser_->header("Expect"), "100-continue")) {
    send_bytes("HTTP/1.1 100 Continue\r\n\r\n");
  }
  if (!error || error == http::error::need_more) {
    // Beast wants the line of a chunk's size, and trailers, whole, and has no limit for them.
    if (parser_->header_seen && !parser.is_done() && bytes.size() - used > limit) refuse(ErrorCode::kHeadersTooLarge);
    return used;
  }
  if (error == http::error::header_limit) {
    refuse_long_header(bytes);
  } else if (error == http::error::body_limit || error == http::error::buffer_overflow) {
    refuse(ErrorCode::kPayloadTooLarge);
  } else if (error == http::error::bad_version) {
    refuse(ErrorCode::kVersionNotSupported);
  } else {
    refuse(ErrorCode::kBadRequest, error.message());
  }
  return used;
}

// Whoever reads the request's end elsewhere than the proxy before us takes one request for two. Beast looks for
// `chunked` at the end of a list and ignores all else; RFC 9112 6.1 wants an error.
bool HttpConnection::check_framing() {
  const Parser& request = *parser_;
  if (request.count(http::field::transfer_encoding) == 0) return true;
  if (request.count(http::field::content_length) != 0) {
    refuse(ErrorCode::kBadRequest, "Content-Length and Transfer-Encoding exclude each other.");
  } else if (!request.is_http_1_1()) {
    refuse(ErrorCode::kBadRequest, "HTTP/1.0 has no Transfer-Encoding.");
  } else if (!base::equal_ignoring_case(request.header("Transfer-Encoding"), "chunked")) {
    refuse(ErrorCode::kUnsupported, "No Transfer-Encoding but chunked is understood.");
  }
  return !is_closing();
}

// `bytes`: what is not consumed yet.
void HttpConnection::refuse_long_header(std::string_view bytes) {
  const bool in_start_line =
      parser_->header_bytes == 0 && bytes.find('\n') >= transport().options().http_header_max_bytes;
  refuse(in_start_line ? ErrorCode::kUriTooLong : ErrorCode::kHeadersTooLarge);
}

void HttpConnection::handle() {
  Parser& request = *parser_;
  const auto& message = request.parser.get();
  const std::size_t hosts = request.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) {
    return refuse(ErrorCode::kBadRequest, "HTTP/1.1 needs exactly one Host header.");
  }
  const std::string_view method = request.method();
  const std::string_view raw_target(message.target().data(), message.target().size());
  if (method == "OPTIONS" && raw_target == "*") {
    return respond({.status = 204, .extra_headers = "Allow: " + transport().context().router.methods() + "\r\n"});
  }
  const auto target = parse_target(raw_target);
  if (!target) return refuse(ErrorCode::kBadRequest, "The request target is not a path.");
  const Router::Match match = transport().context().router.find(method, target->path);
  request.set_target(*target, match.segments);
  if (match.route != nullptr) {
    try {
      return match.route->handle(*this, request);
    } catch (const std::exception& error) {
      // A handler's failure is one request's failure.
      spdlog::error("{} {}: {}", method, target->path, error.what());
      return refuse(ErrorCode::kInternal);
    }
  }
  if (match.allow.empty()) return respond(error_response(ErrorCode::kNotFound));
  const std::string allow = "Allow: " + match.allow + "\r\n";
  if (method == "OPTIONS") return respond({.status = 204, .extra_headers = allow});
  HttpResponse response = error_response(ErrorCode::kMethodNotAllowed);
  response.extra_headers = allow;
  respond(response);
}

void HttpConnection::respond(const HttpResponse& response) {
  const bool keep_alive = parser_->keep_alive && !transport().context().stopping.load();
  write_response(response, keep_alive, parser_->is_head);
  if (!keep_alive) close_gracefully(transport().options().close_timeout_ms);
}

DeferredAnswer HttpConnection::defer(ResponseWaiter* waiter) {
  cancel_timer();
  waiter_ = waiter;
  deferred_ = transport().next_deferred_++;
  deferred_keep_alive_ = parser_->keep_alive;
  deferred_head_ = parser_->method() == "HEAD";
  transport().deferred_.emplace(deferred_, this);
  return {shard().index(), deferred_};
}

void HttpConnection::answer_deferred(const HttpResponse& response) {
  transport().deferred_.erase(std::exchange(deferred_, 0));
  waiter_ = nullptr;
  const bool keep_alive = deferred_keep_alive_ && !transport().context().stopping.load();
  write_response(response, keep_alive, deferred_head_);
  if (!keep_alive) return close_gracefully(transport().options().close_timeout_ms);
  set_reading(true);
  // In the handler itself the request is still in hand, and consume() goes on by itself.
  if (parser_) return;
  arm_timer(transport().options().http_idle_timeout_ms);
  if (!input_.empty()) consume(std::exchange(input_, {}));
}

void HttpConnection::on_closed() {
  if (deferred_ == 0) return;
  transport().deferred_.erase(std::exchange(deferred_, 0));
  if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->on_connection_gone();
}

void HttpConnection::move_to(unsigned shard_index) {
  flush();
  if (is_closing()) return;
  // Answers to earlier requests of the pipeline that the peer does not read can't move.
  if (queued_bytes() != 0) return respond(error_response(ErrorCode::kOverloaded));
  upgraded_ = true;
  ShardTransport* to = transport().context().transports[shard_index];
  const std::uint64_t address = address_hash();
  to->shard().connection_count().fetch_add(1, std::memory_order_relaxed);
  struct Move {
    ShardTransport* to;
    int fd;
    std::uint64_t address;
    std::unique_ptr<Parser> parser;
    std::string unread;
    ~Move() {
      if (fd >= 0) ::close(fd);
    }
  };
  auto move = std::make_unique<Move>(to, -1, address, std::move(parser_), std::string(unread_));
  move->fd = release_to_other_shard();
  to->shard().post([move = std::move(move)] {
    move->to->shard().connection_count().fetch_sub(1, std::memory_order_relaxed);
    auto* connection = new HttpConnection(*move->to, std::exchange(move->fd, -1), move->address);
    connection->adopt(std::move(move->parser), std::move(move->unread));
  });
}

SseConnection& HttpConnection::upgrade_to_sse(std::string_view head) {
  send_bytes(head);
  upgraded_ = true;
  return *new SseConnection(*this);
}

void HttpConnection::refuse(ErrorCode code, std::string_view message) {
  write_response(error_response(code, message), false, parser_->is_head);
  close_gracefully(transport().options().close_timeout_ms);
}

void HttpConnection::write_response(const HttpResponse& response, bool keep_alive, bool head) {
  std::string text = "HTTP/1.1 ";
  text.reserve(256 + response.body.size() + response.extra_headers.size());
  text.append(std::to_string(response.status)).append(" ").append(status_text(response.status));
  text.append("\r\nServer: hubbub\r\nDate: ").append(http_date(shard().unix_ms())).append("\r\n");
  if (response.status != 204) {
    text.append("Content-Type: ").append(response.content_type);
    text.append("\r\nContent-Length: ").append(std::to_string(response.body.size())).append("\r\n");
  }
  text.append(response.extra_headers);
  // RFC 9110 7.8: who sends Upgrade says so here. HTTP/1.0 has to be told of keep-alive either way.
  text.append(response.status == 426 ? "Connection: Upgrade, " : "Connection: ");
  text.append(keep_alive ? "keep-alive\r\n\r\n" : "close\r\n\r\n");
  if (!head && response.status != 204) text.append(response.body);
  send_bytes(text);
}

void HttpConnection::upgrade_to_websocket(std::string_view headers, bool deflate, SessionRequest* wanted) {
  std::string text =
      "HTTP/1.1 101 Switching Protocols\r\nServer: hubbub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  text.append(headers).append("\r\n");
  send_bytes(text);
  upgraded_ = true;
  // What the client sent behind its request is WebSocket already. It is copied: unread_ may lie in this object.
  std::string rest(unread_);
  auto* connection = new WebSocketConnection(*this, deflate, wanted);
  connection->start(rest);
}

void HttpConnection::on_drained() {
  set_reading(true);
  if (deferred_ == 0 && !input_.empty()) consume(std::exchange(input_, {}));
}

void HttpConnection::on_timer() {
  if (deferred_ != 0) {
    // The server stops (on_stop), and whatever this waits for does not come.
    answer_deferred(error_response(ErrorCode::kOverloaded, "The server stops; whether it has done this is not known."));
  } else if (parser_) {
    refuse(ErrorCode::kRequestTimeout);
  } else {
    close_after_answers();
  }
}

void HttpConnection::on_stop() {
  if (is_closing()) return;
  // Most answers come at once now; a broker that does not answer must not hold up the stop, and the answer that says so
  // needs some of the time for itself.
  if (deferred_ != 0) {
    if (waiter_ == nullptr) arm_timer(transport().options().close_timeout_ms / 2);  // a poll's session answers it
    return;
  }
  if (!parser_) close_gracefully(transport().options().close_timeout_ms);
}

}  // namespace hubbub::transport
