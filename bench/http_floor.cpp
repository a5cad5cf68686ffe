// hubbub-http-floor: a bare Boost.Beast server, which publishing by HTTP is measured against. It parses the same JSON
// (with nlohmann) and gives an answer of the same size as Hubbub, and does no more: no room, no stream, nobody to
// deliver to. Never a server to use.

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace hubbub::bench {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
// The executor's own type: the usual any_io_executor costs an indirect call and a count for each operation.
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using Acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

constexpr std::uint64_t kBodyMaxBytes = 1 << 20;

// What goes wrong on purpose with every hundredth request, so that the generator's own eyes can be tested.
enum class Fault { kNone, kStatus, kClose, kMiscount };
constexpr std::uint64_t kFaultEvery = 100;

// What all connections share.
struct Server {
  Fault fault = Fault::kNone;
  std::uint64_t requests = 0;
  std::uint64_t seq = 0;
  std::time_t date_of = 0;
  std::string date;

  const std::string& http_date() {
    const std::time_t now = std::time(nullptr);
    if (now == date_of) return date;
    tm parts{};
    gmtime_r(&now, &parts);
    char text[40];
    date.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
    date_of = now;
    return date;
  }
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, Socket socket) : server_(server), socket_(std::move(socket)) {
    socket_.set_option(tcp::no_delay(true));
  }

  void read() {
    parser_.emplace();
    parser_->body_limit(kBodyMaxBytes);
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                       if (!error) self->answer();
                     });
  }

 private:
  void answer() {
    const auto& request = parser_->get();
    const bool faulty = ++server_.requests % kFaultEvery == 0;
    if (faulty && server_.fault == Fault::kClose) return;
    response_ = {};
    response_.version(request.version());
    response_.keep_alive(request.keep_alive());
    response_.set(http::field::server, "hubbub");
    response_.set(http::field::date, server_.http_date());
    response_.set(http::field::content_type, "application/json");
    response_.set(http::field::connection, "keep-alive");
    const bool good = write_body(request, faulty && server_.fault == Fault::kMiscount);
    response_.result(good ? http::status::ok : http::status::bad_request);
    if (faulty && server_.fault == Fault::kStatus) response_.result(http::status::internal_server_error);
    response_.content_length(response_.body().size());
    http::async_write(socket_, response_,
                      [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  // False when the request makes no sense.
  bool write_body(const http::request<http::string_body>& request, bool leave_one_out) {
    constexpr std::string_view kBefore = "/api/rooms/";
    constexpr std::string_view kBehind = "/messages";
    const nlohmann::json body = nlohmann::json::parse(request.body(), nullptr, false);
    const std::string_view target(request.target().data(), request.target().size());
    if (!body.is_object()) return false;
    const std::int64_t now_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    if (target == "/api/batch") {
      const auto publishes = body.find("publishes");
      if (publishes == body.end() || !publishes->is_array()) return false;
      response_.body() = R"({"results":[)";
      for (const auto& each : *publishes) {
        const auto room = each.find("room_id");
        if (room == each.end() || !room->is_string() || !has_content(each)) return false;
        if (leave_one_out && &each == &publishes->back()) break;
        if (&each != &publishes->front()) response_.body() += ',';
        append_result(room->get_ref<const std::string&>(), now_ms);
      }
      response_.body() += "]}";
      return true;
    }
    if (!target.starts_with(kBefore) || !target.ends_with(kBehind) || !has_content(body)) return false;
    if (leave_one_out) {
      response_.body() = "{}";
      return true;
    }
    append_result(target.substr(kBefore.size(), target.size() - kBefore.size() - kBehind.size()), now_ms);
    return true;
  }

  static bool has_content(const nlohmann::json& message) {
    const auto content = message.find("content");
    return content != message.end() && content->is_string();
  }

  void append_result(std::string_view room, std::int64_t now_ms) {
    const std::string seq = std::to_string(++server_.seq);
    std::string& out = response_.body();
    out.append(R"({"room_id":")").append(room).append(R"(","id":")").append(std::to_string(now_ms)).append("-");
    out.append(seq).append(R"(","seq":)").append(seq).append(R"(,"sessions":1})");
  }

  Server& server_;
  Socket socket_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

void accept_from(Acceptor& acceptor, Server& server) {
  acceptor.async_accept([&](const boost::system::error_code& error, Socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) std::make_shared<Connection>(server, std::move(socket))->read();
    accept_from(acceptor, server);
  });
}

}  // namespace
}  // namespace hubbub::bench

int main(int argc, char** argv) {
  using namespace hubbub::bench;
  CLI::App app("The bare Beast server that publishing by HTTP is measured against. Not a server to use.",
               "hubbub-http-floor");
  std::string listen = "127.0.0.1:0";
  Server server;
  app.add_option("--listen", listen, "IPv4 address:port, port 0 = choose one; printed when ready")
      ->capture_default_str();
  app.add_option("--fault", server.fault, "Spoil every hundredth answer, to test the generator")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Fault>{
          {"status", Fault::kStatus}, {"close", Fault::kClose}, {"miscount", Fault::kMiscount}}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const std::size_t colon = listen.rfind(':');
  std::uint16_t port = 0;
  if (colon == std::string::npos ||
      std::from_chars(listen.data() + colon + 1, listen.data() + listen.size(), port).ec != std::errc{}) {
    std::fprintf(stderr, "hubbub-http-floor: --listen wants ADDRESS:PORT, not '%s'\n", listen.c_str());
    return 2;
  }
  try {
    asio::io_context io(1);
    Acceptor acceptor(io, {asio::ip::make_address_v4(listen.substr(0, colon)), port});
    asio::signal_set signals(io, SIGTERM, SIGINT);
    signals.async_wait([&](const boost::system::error_code&, int) { io.stop(); });
    std::printf("listening on %s:%u\n", listen.substr(0, colon).c_str(),
                static_cast<unsigned>(acceptor.local_endpoint().port()));
    std::fflush(stdout);
    accept_from(acceptor, server);
    io.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hubbub-http-floor: %s\n", error.what());
    return 1;
  }
  return 0;
}
