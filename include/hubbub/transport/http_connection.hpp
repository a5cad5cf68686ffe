#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::transport {

/// HTTP/1.1 on one connection: keep-alive, pipelining, limits. Beast parses; an idle connection holds no parser and no
/// buffer. [shard]
class HttpConnection final : public TransportConnection {
 public:
  HttpConnection(ShardTransport& transport, int fd, std::uint64_t address_hash);
  ~HttpConnection() override;

  void start();

  /// Answers the request in hand.
  void respond(const HttpResponse& response);
  /// Answers 101 with `headers` (whole lines) and hands the socket over to a WebSocketConnection for `user` (null: an
  /// echo). This connection is retired.
  void upgrade_to_websocket(std::string_view headers, bool deflate, const base::SharedString* user);

 private:
  class Parser;

  void on_readable() override;
  void on_drained() override;
  void on_timer() override;
  void on_closed() override {}
  void on_stop() override;

  void consume(std::string_view bytes);
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
  bool upgraded_ = false;
};

}  // namespace hubbub::transport
