#include "hubbub/protocol/ws_frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/_experimental/test/stream.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "hubbub/protocol/utf8.hpp"
#include "hubbub/protocol/ws_deflate.hpp"
#include "hubbub/protocol/ws_handshake.hpp"

namespace hubbub::protocol {
namespace {

namespace beast = boost::beast;
namespace websocket = beast::websocket;

using Random = std::mt19937_64;
using Events = std::vector<std::string>;

// HUBBUB_TEST_SEED=n goes other ways; a failure prints the seed of its round.
std::uint64_t first_seed() {
  const char* given = std::getenv("HUBBUB_TEST_SEED");
  return given == nullptr ? 20261124 : std::strtoull(given, nullptr, 10);
}

std::size_t below(Random& random, std::size_t end) { return static_cast<std::size_t>(random() % end); }
bool coin(Random& random) { return (random() & 1) != 0; }

std::size_t random_size(Random& random) {
  constexpr std::size_t kEdges[] = {0, 1, 2, 124, 125, 126, 127, 4096, 65535, 65536};
  const std::size_t kind = below(random, 20);
  return kind == 0 ? kEdges[below(random, std::size(kEdges))] : kind == 1 ? below(random, 70000) : below(random, 200);
}

std::string random_payload(Random& random, bool text, std::size_t size) {
  constexpr std::string_view kParts[] = {"a", "{\"type\":\"message\"}", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80"};
  std::string out;
  while (out.size() < size) {
    if (text) {
      out += kParts[below(random, std::size(kParts))];
    } else {
      out += static_cast<char>(random());
    }
  }
  return out;
}

std::string event(Opcode opcode, std::string_view payload) {
  const char* name = opcode == Opcode::kText     ? "text:"
                     : opcode == Opcode::kBinary ? "binary:"
                     : opcode == Opcode::kPing   ? "ping:"
                                                 : "pong:";
  return name + std::string(payload);
}
std::string close_event(std::uint16_t code, std::string_view reason) {
  return "close:" + std::to_string(code) + ":" + std::string(reason);
}

class Recorder final : public FrameSink {
 public:
  bool on_message(Opcode opcode, std::string_view payload) override { return add(event(opcode, payload)); }
  bool on_ping(std::string_view payload) override { return add(event(Opcode::kPing, payload)); }
  bool on_pong(std::string_view payload) override { return add(event(Opcode::kPong, payload)); }
  bool on_close(std::uint16_t code, std::string_view reason) override { return add(close_event(code, reason)); }

  Events events;

 private:
  bool add(std::string event) {
    events.push_back(std::move(event));
    return true;
  }
};

struct Outcome {
  Events events;
  std::uint16_t code = 0;
  std::string reason;
  bool idle = false;
  bool operator==(const Outcome&) const = default;
};

template <class NextSize>
Outcome decode(std::string_view stream, const DecoderConfig& config, NextSize next_size) {
  static Inflater inflater;
  Recorder sink;
  Decoder decoder;
  Outcome outcome;
  for (std::size_t at = 0; at < stream.size();) {
    std::string chunk(stream.substr(at, next_size()));
    at += chunk.size();
    const DecodeResult result = decoder.feed(chunk, config, &inflater, sink);
    if (result.close_code != 0) {
      EXPECT_EQ(outcome.code, 0);
      outcome.code = result.close_code;
      outcome.reason = result.reason;
    }
  }
  outcome.events = std::move(sink.events);
  outcome.idle = decoder.idle();
  return outcome;
}

Outcome decode_whole(std::string_view stream, const DecoderConfig& config) {
  return decode(stream, config, [&] { return stream.size(); });
}
Outcome decode_bytewise(std::string_view stream, const DecoderConfig& config) {
  return decode(stream, config, [] { return 1; });
}
Outcome decode_in_pieces(std::string_view stream, const DecoderConfig& config, Random& random) {
  const std::size_t largest = std::size_t{1} << below(random, 15);
  return decode(stream, config, [&] { return 1 + below(random, largest); });
}

// What a client may send, and what must come of it.
struct Script {
  std::string stream;
  Events events;
};

void add_frame(Script& script, Random& random, Opcode opcode, std::string_view payload, bool rsv1, bool fin) {
  append_masked_frame(script.stream, opcode, payload, static_cast<std::uint32_t>(random()), rsv1, fin);
}

void maybe_add_control(Script& script, Random& random) {
  while (below(random, 3) == 0) {
    const Opcode opcode = coin(random) ? Opcode::kPing : Opcode::kPong;
    const std::string payload = random_payload(random, false, below(random, 126));
    add_frame(script, random, opcode, payload, false, true);
    script.events.push_back(event(opcode, payload));
  }
}

void add_message(Script& script, Random& random, Deflater* deflater) {
  const Opcode opcode = coin(random) ? Opcode::kText : Opcode::kBinary;
  const std::string payload = random_payload(random, opcode == Opcode::kText, random_size(random));
  const bool compressed = deflater != nullptr && coin(random);
  std::string body = payload;
  if (compressed) {
    body.clear();
    deflater->deflate(payload, body);
  }
  std::string_view rest = body;
  for (std::size_t left = coin(random) ? 0 : below(random, 6), first = 1;; --left, first = 0) {
    const std::size_t size = left == 0 ? rest.size() : below(random, rest.size() + 1);
    maybe_add_control(script, random);
    add_frame(script, random, first != 0 ? opcode : Opcode::kContinuation, rest.substr(0, size),
              compressed && first != 0, left == 0);
    rest.remove_prefix(size);
    if (left == 0) break;
  }
  script.events.push_back(event(opcode, payload));
}

Script random_script(Random& random, Deflater* deflater) {
  Script script;
  for (std::size_t n = 1 + below(random, 8); n > 0; --n) add_message(script, random, deflater);
  if (below(random, 4) == 0) {
    const auto code = static_cast<std::uint16_t>(3000 + below(random, 2000));
    const std::string reason = random_payload(random, true, below(random, 100));
    add_frame(script, random, Opcode::kClose, close_payload(code, reason), false, true);
    script.events.push_back(close_event(code, reason));
    if (coin(random)) script.stream += random_payload(random, false, 50);  // noise that nobody may look at
  }
  return script;
}

TEST(WsDecoderProperty, GivesTheSameMessagesHoweverTheyAreFragmentedMaskedAndCut) {
  Deflater deflater(1);
  for (std::uint64_t round = 0; round < 400; ++round) {
    const std::uint64_t seed = first_seed() + round;
    SCOPED_TRACE("HUBBUB_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    const DecoderConfig config{100000, coin(random)};
    const Script script = random_script(random, config.deflate ? &deflater : nullptr);
    const Outcome expected{script.events, 0, "", true};
    ASSERT_EQ(decode_whole(script.stream, config), expected);
    ASSERT_EQ(decode_bytewise(script.stream, config), expected);
    for (int i = 0; i < 4; ++i) ASSERT_EQ(decode_in_pieces(script.stream, config, random), expected);
  }
}

TEST(WsDecoderProperty, GivesOneVerdictOnADamagedStreamHoweverItIsCut) {
  Deflater deflater(1);
  for (std::uint64_t round = 0; round < 1500; ++round) {
    const std::uint64_t seed = first_seed() + round;
    SCOPED_TRACE("HUBBUB_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    const DecoderConfig config{std::size_t{1} << below(random, 17), coin(random)};
    Script script = random_script(random, config.deflate ? &deflater : nullptr);
    std::string& stream = script.stream;
    stream.resize(std::min<std::size_t>(stream.size(), 5000));
    for (std::size_t n = below(random, 4); n > 0; --n) {
      stream[below(random, stream.size())] ^= static_cast<char>(1U << below(random, 8));
    }
    const Outcome whole = decode_whole(stream, config);
    ASSERT_EQ(decode_bytewise(stream, config), whole);
    ASSERT_EQ(decode_in_pieces(stream, config, random), whole);
  }
}

// Beast as the client, over a stream in memory; the server's half of the handshake is ours.
class BeastClient {
 public:
  explicit BeastClient(bool deflate) {
    ws_.next_layer().connect(wire_);
    websocket::permessage_deflate offer;
    offer.client_enable = deflate;
    ws_.set_option(offer);
    ws_.set_option(websocket::stream_base::decorator(
        [](websocket::request_type& request) { request.set(beast::http::field::user_agent, "test"); }));
    ws_.read_message_max(1 << 20);
    ws_.control_callback([this](websocket::frame_type kind, beast::string_view payload) {
      const std::string_view view(payload.data(), payload.size());
      if (kind == websocket::frame_type::close) {
        controls.push_back(close_event(static_cast<std::uint16_t>(ws_.reason().code), view));
      } else {
        controls.push_back(event(kind == websocket::frame_type::ping ? Opcode::kPing : Opcode::kPong, view));
      }
    });

    beast::error_code result = boost::asio::error::would_block;
    ws_.async_handshake("hubbub.test", "/ws/alice", [&](beast::error_code ec) { result = ec; });
    context_.poll();
    const std::string request = take_sent();
    const std::string key = header(request, "Sec-WebSocket-Key");
    EXPECT_TRUE(is_valid_client_key(key)) << request;
    std::string answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " +
        accept_key(key) + "\r\n";
    const std::optional<std::string> extensions = negotiate_deflate(header(request, "Sec-WebSocket-Extensions"));
    EXPECT_EQ(extensions.has_value(), deflate) << request;
    if (extensions) answer += "Sec-WebSocket-Extensions: " + *extensions + "\r\n";
    put(answer + "\r\n");
    context_.restart();
    context_.poll();
    EXPECT_FALSE(result) << result.message();
  }

  websocket::stream<beast::test::stream>& ws() { return ws_; }

  /// What the client has sent so far, as a server would read it.
  std::string take_sent() {
    const auto sent = wire_.str();
    std::string out(sent.data(), sent.size());
    wire_.clear();
    return out;
  }

  void put(std::string_view bytes) { boost::asio::write(wire_, boost::asio::buffer(bytes.data(), bytes.size())); }

  Events controls;

 private:
  static std::string header(const std::string& request, const std::string& name) {
    const std::size_t at = request.find(name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 2;
    return request.substr(begin, request.find("\r\n", begin) - begin);
  }

  boost::asio::io_context context_{1};
  beast::test::stream wire_{context_};
  websocket::stream<beast::test::stream> ws_{context_};
};

TEST(WsDecoderProperty, ReadsWhatBeastWrites) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    const std::uint64_t seed = first_seed() + round;
    SCOPED_TRACE("HUBBUB_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    const DecoderConfig config{100000, coin(random)};
    BeastClient client(config.deflate);
    auto& ws = client.ws();
    Events expected;
    const auto maybe_write_control = [&] {
      if (below(random, 3) != 0) return;
      const Opcode opcode = coin(random) ? Opcode::kPing : Opcode::kPong;
      const std::string payload = random_payload(random, false, below(random, 126));
      const websocket::ping_data data(payload.data(), payload.size());
      opcode == Opcode::kPing ? ws.ping(data) : ws.pong(data);
      expected.push_back(event(opcode, payload));
    };
    for (std::size_t n = 1 + below(random, 20); n > 0; --n) {
      const Opcode opcode = coin(random) ? Opcode::kText : Opcode::kBinary;
      const std::string payload = random_payload(random, opcode == Opcode::kText, random_size(random));
      ws.text(opcode == Opcode::kText);
      ws.auto_fragment(coin(random));
      ws.write_buffer_bytes(8 + below(random, 3000));
      std::string_view rest = payload;
      for (std::size_t left = below(random, 4);; --left) {
        const std::size_t size = left == 0 ? rest.size() : below(random, rest.size() + 1);
        maybe_write_control();
        ws.write_some(left == 0, boost::asio::buffer(rest.data(), size));
        rest.remove_prefix(size);
        if (left == 0) break;
      }
      expected.push_back(event(opcode, payload));
    }
    const std::string stream = client.take_sent();
    const Outcome outcome{expected, 0, "", true};
    ASSERT_EQ(decode_whole(stream, config), outcome);
    ASSERT_EQ(decode_bytewise(stream, config), outcome);
    ASSERT_EQ(decode_in_pieces(stream, config, random), outcome);
  }
}

TEST(WsEncoderProperty, WritesWhatBeastReads) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    const std::uint64_t seed = first_seed() + round;
    SCOPED_TRACE("HUBBUB_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    const bool deflate = coin(random);
    BeastClient client(deflate);
    Deflater deflater(1 + static_cast<int>(below(random, 9)));
    std::string stream;
    Events messages, controls;
    for (std::size_t n = 1 + below(random, 20); n > 0; --n) {
      if (below(random, 3) == 0) {
        const Opcode opcode = coin(random) ? Opcode::kPing : Opcode::kPong;
        const std::string payload = random_payload(random, false, below(random, 126));
        append_frame(stream, opcode, payload);
        controls.push_back(event(opcode, payload));
      }
      const Opcode opcode = coin(random) ? Opcode::kText : Opcode::kBinary;
      const std::string payload = random_payload(random, opcode == Opcode::kText, random_size(random));
      if (deflate && coin(random)) {
        std::string packed;
        deflater.deflate(payload, packed);
        append_frame(stream, opcode, packed, true);
      } else {
        append_frame(stream, opcode, payload);
      }
      messages.push_back(event(opcode, payload));
    }
    append_frame(stream, Opcode::kClose, close_payload(4001, std::string(200, 'r')));
    client.put(stream);
    for (const std::string& message : messages) {
      beast::flat_buffer buffer;
      beast::error_code ec;
      client.ws().read(buffer, ec);
      ASSERT_FALSE(ec) << ec.message();
      ASSERT_EQ(
          event(client.ws().got_text() ? Opcode::kText : Opcode::kBinary, beast::buffers_to_string(buffer.data())),
          message);
    }
    beast::flat_buffer buffer;
    beast::error_code ec;
    client.ws().read(buffer, ec);
    EXPECT_EQ(ec, websocket::error::closed);
    EXPECT_EQ(client.ws().reason().code, 4001);
    EXPECT_EQ(client.ws().reason().reason.size(), 123U);
    client.controls.pop_back();  // the close
    EXPECT_EQ(client.controls, controls);
  }
}

}  // namespace
}  // namespace hubbub::protocol
