#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

class SseConnection;
struct SessionRequest;

/// Someone on the connection's shard who will answer its request, and wants to know when that has become pointless.
class ResponseWaiter {
 public:
  /// The connection has gone.
  virtual void on_connection_gone() = 0;

 protected:
  ~ResponseWaiter() = default;
};

/// HTTP/1.1 on one connection: keep-alive, pipelining, limits. Beast parses; an idle connection holds no parser and no
/// buffer. [shard]
class HttpConnection final : public TransportConnection {
 public:
  HttpConnection(ShardTransport& transport, int fd, std::uint64_t address_hash);
  ~HttpConnection() override;

  void start();

  /// Answers the request in hand.
  void respond(const HttpResponse& response);
  /// The answer comes later: by ShardTransport::answer from anywhere (through the shard's mailbox), or by
  /// answer_deferred from a waiter on this shard. Until then requests behind this one wait, and the connection holds
  /// neither parser nor request.
  DeferredAnswer defer(ResponseWaiter* waiter = nullptr);
  void answer_deferred(const HttpResponse& response);
  /// Goes on with this connection and the request in hand on another shard, where the same handler is called again.
  /// This object is retired.
  void move_to(unsigned shard);
  /// Answers `head` (a whole header, with its empty line) and hands the socket over to a stream of `session`. This
  /// connection is retired.
  SseConnection& upgrade_to_sse(std::string_view head);
  /// Answers 101 with `headers` (whole lines) and hands the socket over to a WebSocketConnection for the session that
  /// is wanted (null: an echo). This connection is retired.
  void upgrade_to_websocket(std::string_view headers, bool deflate, SessionRequest* wanted);

 private:
  class Parser;

  void on_readable() override;
  void on_drained() override;
  void on_timer() override;
  void on_closed() override;
  void on_stop() override;

  void consume(std::string_view bytes);
  void adopt(std::unique_ptr<Parser> parser, std::string unread);
  std::size_t parse(std::string_view bytes);
  bool check_framing();
  void handle();
  void refuse(protocol::ErrorCode code, std::string_view message = {});
  void refuse_long_header(std::string_view bytes);
  void close_after_answers();
  void write_response(const HttpResponse& response, bool keep_alive, bool head);

  std::unique_ptr<Parser> parser_;  // only while a request is arriving
  std::string input_;               // what of it could not be parsed yet
  std::string_view unread_;         // behind the request in hand, while consume() runs
  ResponseWaiter* waiter_ = nullptr;
  std::uint64_t deferred_ = 0;  // id of the request whose answer comes later
  bool deferred_keep_alive_ = false;
  bool deferred_head_ = false;
  bool upgraded_ = false;  // or moved: this object has no socket any more
};

}  // namespace hubbub::transport
