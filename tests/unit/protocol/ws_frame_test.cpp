#include "hubbub/protocol/ws_frame.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hubbub/protocol/ws_deflate.hpp"

namespace hubbub::protocol {
namespace {

using Events = std::vector<std::string>;

class Recorder final : public FrameSink {
 public:
  bool on_message(Opcode opcode, std::string_view payload) override {
    return add((opcode == Opcode::kText ? "text:" : "binary:") + std::string(payload));
  }
  bool on_ping(std::string_view payload) override { return add("ping:" + std::string(payload)); }
  bool on_pong(std::string_view payload) override { return add("pong:" + std::string(payload)); }
  bool on_close(std::uint16_t code, std::string_view reason) override {
    return add("close:" + std::to_string(code) + ":" + std::string(reason));
  }

  Events events;
  std::size_t stop_after = SIZE_MAX;

 private:
  bool add(std::string event) {
    events.push_back(std::move(event));
    return events.size() < stop_after;
  }
};

constexpr std::uint32_t kKey = 0x37fa213d;

std::string frame(Opcode opcode, std::string_view payload, bool fin = true, bool rsv1 = false) {
  std::string out;
  append_masked_frame(out, opcode, payload, kKey, rsv1, fin);
  return out;
}
std::string text(std::string_view payload, bool fin = true) { return frame(Opcode::kText, payload, fin); }
std::string more(std::string_view payload, bool fin) { return frame(Opcode::kContinuation, payload, fin); }
std::string raw(std::initializer_list<int> bytes) {
  std::string out;
  for (int byte : bytes) out += static_cast<char>(byte);
  return out;
}
std::string packed(std::string_view payload) {
  Deflater deflater(6);
  std::string out;
  deflater.deflate(payload, out);
  return out;
}

struct Decoded {
  Events events;
  std::uint16_t code = 0;
  bool idle = false;
};

struct Client {
  DecoderConfig config{65536, false};
  Decoder decoder{};
  Recorder sink{};
  Inflater inflater{};

  std::uint16_t feed(std::string bytes) { return decoder.feed(bytes, config, &inflater, sink).close_code; }
};

// Decodes the stream whole, then one byte at a time, then in sevens: the verdict must not hang on the cutting.
Decoded decode(const std::string& stream, DecoderConfig config = {65536, false}) {
  Decoded first;
  for (std::size_t chunk : {stream.size(), std::size_t{1}, std::size_t{7}}) {
    Client client{config};
    Decoded decoded;
    for (std::size_t at = 0; at < stream.size() && decoded.code == 0; at += chunk) {
      decoded.code = client.feed(stream.substr(at, chunk));
    }
    decoded.events = client.sink.events;
    decoded.idle = client.decoder.idle();
    if (chunk == stream.size()) {
      first = decoded;
    } else {
      EXPECT_EQ(decoded.events, first.events) << "in pieces of " << chunk;
      EXPECT_EQ(decoded.code, first.code) << "in pieces of " << chunk;
      EXPECT_EQ(decoded.idle, first.idle) << "in pieces of " << chunk;
    }
  }
  return first;
}

void expect_fails(const std::string& stream, std::uint16_t code, Events events = {},
                  DecoderConfig config = {65536, false}) {
  const Decoded decoded = decode(stream, config);
  EXPECT_EQ(decoded.code, code);
  EXPECT_EQ(decoded.events, events);
  EXPECT_TRUE(decoded.idle);
}

TEST(WsDecoder, ReadsTheMaskedHelloOfTheRfc) {
  const std::string hello = raw({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58});
  EXPECT_EQ(text("Hello"), hello);
  EXPECT_EQ(decode(hello).events, Events{"text:Hello"});
}

TEST(WsDecoder, ReadsEveryLengthEncoding) {
  for (std::size_t size : {0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537, 200000}) {
    const std::string payload(size, 'x');
    const Decoded decoded = decode(frame(Opcode::kBinary, payload) + text("after"), {200000, false});
    EXPECT_EQ(decoded.code, 0);
    EXPECT_EQ(decoded.events, (Events{"binary:" + payload, "text:after"}));
    EXPECT_TRUE(decoded.idle);
  }
}

TEST(WsDecoder, HoldsMemoryOnlyWhileSomethingIsUnfinished) {
  Client client;
  EXPECT_TRUE(client.decoder.idle());
  const std::string bytes = text("a whole message of some bytes");
  EXPECT_EQ(client.feed(bytes.substr(0, 1)), 0);
  EXPECT_FALSE(client.decoder.idle());
  EXPECT_GT(client.decoder.buffered_bytes(), 0U);
  EXPECT_EQ(client.feed(bytes.substr(1)), 0);
  EXPECT_TRUE(client.decoder.idle());
  EXPECT_EQ(client.decoder.buffered_bytes(), 0U);
  EXPECT_EQ(client.feed(text("fragment", false)), 0);
  EXPECT_FALSE(client.decoder.idle());
  EXPECT_EQ(client.feed(more("", true)), 0);
  EXPECT_TRUE(client.decoder.idle());
  EXPECT_EQ(client.feed(frame(Opcode::kPing, "hello").substr(0, 8)), 0);
  EXPECT_FALSE(client.decoder.idle());
  EXPECT_EQ(client.feed(frame(Opcode::kPing, "hello").substr(8)), 0);
  EXPECT_TRUE(client.decoder.idle());
}

TEST(WsDecoder, NeverAllocatesWhatAHeaderMerelyClaims) {
  Client client{{64 << 20, false}};
  const std::string big = frame(Opcode::kBinary, std::string(60 << 20, 'x'));
  EXPECT_EQ(client.feed(big.substr(0, 1000)), 0);
  EXPECT_LT(client.decoder.buffered_bytes(), 4000U);
}

TEST(WsDecoder, JoinsFragmentsAndDeliversControlFramesBetweenThem) {
  const std::string stream = text("Hel", false) + frame(Opcode::kPing, "p") + more("", false) +
                             frame(Opcode::kPong, "q") + more("lo", true) + frame(Opcode::kBinary, "b");
  EXPECT_EQ(decode(stream).events, (Events{"ping:p", "pong:q", "text:Hello", "binary:b"}));
}

TEST(WsDecoder, DeliversEmptyMessages) {
  EXPECT_EQ(decode(text("") + text("", false) + more("", true) + frame(Opcode::kPing, "")).events,
            (Events{"text:", "text:", "ping:"}));
}

TEST(WsDecoder, RefusesUnmaskedFrames) {
  expect_fails(raw({0x81, 0x05, 'H', 'e', 'l', 'l', 'o'}), 1002);
  expect_fails(raw({0x89, 0x00}), 1002);
}

TEST(WsDecoder, RefusesReservedBits) {
  for (int bit : {0x10, 0x20, 0x30}) {
    for (int opcode : {1, 2, 8, 9, 10}) {
      expect_fails(raw({0x80 | bit | opcode, 0x80, 0, 0, 0, 0}), 1002);
      expect_fails(raw({0x80 | bit | opcode, 0x80, 0, 0, 0, 0}), 1002, {}, {100, true});
    }
  }
  for (int opcode : {1, 2, 8, 9, 10}) expect_fails(raw({0xc0 | opcode, 0x80, 0, 0, 0, 0}), 1002);
}

TEST(WsDecoder, RefusesReservedOpcodes) {
  for (int opcode : {3, 4, 5, 6, 7, 11, 12, 13, 14, 15}) {
    expect_fails(text("ok") + raw({0x80 | opcode, 0x80, 0, 0, 0, 0}) + text("no"), 1002, {"text:ok"});
  }
}

TEST(WsDecoder, RefusesFragmentedOrLongControlFrames) {
  for (Opcode opcode : {Opcode::kClose, Opcode::kPing, Opcode::kPong}) {
    expect_fails(frame(opcode, "", false), 1002);
    expect_fails(frame(opcode, std::string(126, 'x')), 1002);
  }
  EXPECT_EQ(decode(frame(Opcode::kPing, std::string(125, 'x'))).events, Events{"ping:" + std::string(125, 'x')});
}

TEST(WsDecoder, RefusesLengthsNotInTheirShortestForm) {
  expect_fails(raw({0x82, 0xfe, 0x00, 0x7d}), 1002);
  expect_fails(raw({0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff}), 1002);
  expect_fails(raw({0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}), 1002);
  EXPECT_EQ(decode(raw({0x82, 0xfe, 0x00, 0x7e})).code, 0);
}

TEST(WsDecoder, RefusesContinuationsOfNothingAndMessagesWithinMessages) {
  expect_fails(more("x", true), 1002);
  expect_fails(more("x", false), 1002);
  expect_fails(text("done") + more("x", true), 1002, {"text:done"});
  expect_fails(text("a", false) + text("b"), 1002);
  expect_fails(frame(Opcode::kBinary, "a", false) + frame(Opcode::kPing, "") + text("b", false), 1002, {"ping:"});
}

TEST(WsDecoder, ChecksTextAcrossFragmentsAndBinaryNever) {
  const std::string euro = "\xe2\x82\xac";
  EXPECT_EQ(decode(text(euro)).events, Events{"text:" + euro});
  EXPECT_EQ(
      decode(text("\xe2", false) + more("\x82", false) + frame(Opcode::kPing, "\xff") + more("\xac", true)).events,
      (Events{"ping:\xff", "text:" + euro}));
  expect_fails(text("\xe2\x82"), 1007);
  expect_fails(text("\xe2", false) + more("\x82", true), 1007);
  expect_fails(text("ok \xff"), 1007);
  EXPECT_EQ(decode(frame(Opcode::kBinary, "\xff", false) + more("\xfe", true)).events, Events{"binary:\xff\xfe"});
}

// Autobahn 6.4.x, strict: the fault is told on the octet, though the frame and the message go on.
TEST(WsDecoder, FailsOnTheFirstWrongByteOfAnUnfinishedTextFrame) {
  const std::string payload =
      "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80"
      "edited";
  const std::string bytes = text(payload);
  const std::size_t header = bytes.size() - payload.size();
  for (std::size_t at : {std::size_t{0}, header + 3, header + 12}) {
    Client client;
    EXPECT_EQ(client.feed(bytes.substr(0, at)), 0);
    EXPECT_EQ(client.feed(bytes.substr(at, header + 12 - at)), 0);
    EXPECT_EQ(client.feed(bytes.substr(header + 12, 1)), 1007);  // F4 90 is above U+10FFFF
    EXPECT_TRUE(client.sink.events.empty());
    EXPECT_TRUE(client.decoder.finished());
  }
  Client client;
  EXPECT_EQ(client.feed(bytes.substr(0, header + 13)), 1007);
  Client fragmented;
  EXPECT_EQ(fragmented.feed(text("ok", false) + more("\x80", false)), 1007);
}

TEST(WsDecoder, ReadsCloseCodesAndReasons) {
  EXPECT_EQ(decode(frame(Opcode::kClose, "")).events, Events{"close:1005:"});
  EXPECT_EQ(decode(frame(Opcode::kClose, close_payload(1000, ""))).events, Events{"close:1000:"});
  EXPECT_EQ(decode(frame(Opcode::kClose, close_payload(4001, "bye \xe2\x82\xac"))).events,
            Events{"close:4001:bye \xe2\x82\xac"});
  expect_fails(frame(Opcode::kClose, "\x03"), 1002);
  expect_fails(frame(Opcode::kClose, close_payload(1000, "\xff")), 1007);
  expect_fails(frame(Opcode::kClose, close_payload(1000, "\xe2\x82")), 1007);
}

TEST(WsDecoder, KnowsWhichCloseCodesMayBeSent) {
  for (int code : {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}) {
    EXPECT_EQ(decode(frame(Opcode::kClose, close_payload(static_cast<std::uint16_t>(code), "r"))).events,
              Events{"close:" + std::to_string(code) + ":r"});
  }
  for (int code : {0, 1, 999, 1004, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}) {
    EXPECT_FALSE(is_sendable_close_code(static_cast<std::uint16_t>(code)));
    expect_fails(frame(Opcode::kClose, close_payload(static_cast<std::uint16_t>(code), "r")), 1002);
  }
  expect_fails(frame(Opcode::kClose, raw({0x03, 0xed})), 1002);  // 1005
}

TEST(WsDecoder, DecodesNothingAfterAClose) {
  const Decoded decoded =
      decode(text("a", false) + frame(Opcode::kClose, close_payload(1001, "")) + raw({0xff, 0xff}) + text("b"));
  EXPECT_EQ(decoded.code, 0);
  EXPECT_EQ(decoded.events, Events{"close:1001:"});
  EXPECT_TRUE(decoded.idle);
}

TEST(WsDecoder, DecodesNothingAfterTheSinkSaidNo) {
  const std::vector<std::string> firsts{text("a"), frame(Opcode::kPing, "a"), frame(Opcode::kPong, "a"),
                                        text("", false) + more("a", true), text("", false) + frame(Opcode::kPing, "")};
  for (const std::string& first : firsts) {
    Client client;
    client.sink.stop_after = 1;
    EXPECT_EQ(client.feed(first + text("b")), 0);
    EXPECT_EQ(client.feed(text("c") + raw({0xff})), 0);
    EXPECT_EQ(client.sink.events.size(), 1U);
    EXPECT_TRUE(client.decoder.finished());
    EXPECT_TRUE(client.decoder.idle());
    EXPECT_EQ(client.decoder.buffered_bytes(), 0U);
  }
}

TEST(WsDecoder, IgnoresEverythingAfterAFailure) {
  Client client;
  EXPECT_EQ(client.feed(text("a") + raw({0x83})), 1002);
  EXPECT_EQ(client.feed(text("b")), 0);
  EXPECT_EQ(client.sink.events, Events{"text:a"});
}

TEST(WsDecoder, LimitsAMessageOverAllItsFragments) {
  const DecoderConfig config{10, false};
  EXPECT_EQ(decode(text("0123456789"), config).events, Events{"text:0123456789"});
  EXPECT_EQ(decode(text("01234", false) + more("56789", true), config).events, Events{"text:0123456789"});
  expect_fails(text("0123456789a"), 1009, {}, config);
  expect_fails(text("01234", false) + more("56789a", true), 1009, {}, config);
  // Control frames don't count.
  EXPECT_EQ(decode(text("0123456789", false) + frame(Opcode::kPing, "01234567890123") + more("", true), config).events,
            (Events{"ping:01234567890123", "text:0123456789"}));
  // Told by the header, before any of the payload.
  expect_fails(raw({0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 1009, {}, config);
}

TEST(WsDecoder, InflatesMessagesThatAreMarkedAndLeavesOthers) {
  const DecoderConfig config{65536, true};
  const std::string body = packed("Hello, Hello, Hello");
  EXPECT_EQ(
      decode(frame(Opcode::kText, body, true, true) + text("plain") + frame(Opcode::kBinary, body), config).events,
      (Events{"text:Hello, Hello, Hello", "text:plain", "binary:" + body}));
  EXPECT_EQ(decode(frame(Opcode::kText, body.substr(0, 3), false, true) + frame(Opcode::kPing, "p") +
                       more(body.substr(3), true) + text("x"),
                   config)
                .events,
            (Events{"ping:p", "text:Hello, Hello, Hello", "text:x"}));
  EXPECT_EQ(decode(frame(Opcode::kText, std::string(1, '\0'), true, true), config).events, Events{"text:"});
}

TEST(WsDecoder, RefusesTheCompressionBitWhereItMayNotBe) {
  const DecoderConfig config{65536, true};
  const std::string body = packed("Hello");
  expect_fails(frame(Opcode::kText, body, true, true), 1002);  // not negotiated
  expect_fails(
      frame(Opcode::kText, body.substr(0, 2), false, true) + frame(Opcode::kContinuation, body.substr(2), true, true),
      1002, {}, config);
  expect_fails(frame(Opcode::kText, "a", false) + frame(Opcode::kContinuation, "b", true, true), 1002, {}, config);
  for (Opcode opcode : {Opcode::kPing, Opcode::kPong, Opcode::kClose}) {
    expect_fails(frame(opcode, "", true, true), 1002, {}, config);
  }
}

TEST(WsDecoder, StopsBombsCorruptDataAndBadTextInCompressedMessages) {
  const DecoderConfig config{1000, true};
  EXPECT_EQ(decode(frame(Opcode::kText, packed(std::string(1000, 'a')), true, true), config).events,
            Events{"text:" + std::string(1000, 'a')});
  expect_fails(frame(Opcode::kText, packed(std::string(1001, 'a')), true, true), 1009, {}, config);
  expect_fails(frame(Opcode::kBinary, packed(std::string(500000, 'a')), true, true), 1009, {}, config);
  expect_fails(frame(Opcode::kBinary, "\xff\xff\xff", true, true), 1007, {}, config);
  expect_fails(frame(Opcode::kText, packed("\xff"), true, true), 1007, {}, config);
  EXPECT_EQ(decode(frame(Opcode::kBinary, packed("\xff"), true, true), config).events, Events{"binary:\xff"});
}

TEST(WsDecoder, TakesIncompressibleMessagesUpToTheLimit) {
  std::string noise;
  for (std::uint32_t i = 0, x = 1; i < 1000; ++i) noise += static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
  const std::string body = packed(noise);
  ASSERT_GT(body.size(), noise.size());
  EXPECT_EQ(decode(frame(Opcode::kBinary, body, true, true), {1000, true}).events, Events{"binary:" + noise});
}

TEST(WsDecoder, MovesWithWhatItHolds) {
  Client client;
  const std::string bytes = text("moved");
  EXPECT_EQ(client.feed(bytes.substr(0, 8)), 0);
  Decoder other = std::move(client.decoder);
  client.decoder = std::move(other);
  EXPECT_EQ(client.feed(bytes.substr(8)), 0);
  EXPECT_EQ(client.sink.events, Events{"text:moved"});
}

TEST(WsEncoder, WritesUnmaskedHeadersInTheirShortestForm) {
  const auto header = [](Opcode opcode, std::uint64_t size, bool rsv1 = false) {
    char out[kMaxServerHeaderBytes];
    return std::string(out, write_frame_header(out, opcode, size, rsv1));
  };
  EXPECT_EQ(header(Opcode::kText, 0), raw({0x81, 0}));
  EXPECT_EQ(header(Opcode::kText, 5, true), raw({0xc1, 5}));
  EXPECT_EQ(header(Opcode::kPing, 125), raw({0x89, 125}));
  EXPECT_EQ(header(Opcode::kBinary, 126), raw({0x82, 126, 0, 126}));
  EXPECT_EQ(header(Opcode::kBinary, 65535), raw({0x82, 126, 0xff, 0xff}));
  EXPECT_EQ(header(Opcode::kBinary, 65536), raw({0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}));
  std::string out = "x";
  append_frame(out, Opcode::kPong, "hi");
  EXPECT_EQ(out, "x\x8a\x02hi");
}

TEST(WsEncoder, CutsACloseReasonAtACharactersEdge) {
  EXPECT_EQ(close_payload(4001, "slow"), raw({0x0f, 0xa1}) + "slow");
  EXPECT_EQ(close_payload(1005, "unsaid"), "");
  EXPECT_EQ(close_payload(1000, std::string(123, 'a')).size(), 125U);
  EXPECT_EQ(close_payload(1000, std::string(500, 'a')).size(), 125U);
  EXPECT_EQ(close_payload(1000, std::string(122, 'a') + "\xe2\x82\xac").substr(2), std::string(122, 'a'));
  EXPECT_EQ(close_payload(1000, std::string(120, 'a') + "\xe2\x82\xac"
                                                        "b")
                .substr(2),
            std::string(120, 'a') + "\xe2\x82\xac");
  EXPECT_EQ(decode(frame(Opcode::kClose, close_payload(1000, std::string(121, 'a') + "\xf0\x9f\x98\x80"))).events,
            Events{"close:1000:" + std::string(121, 'a')});
}

TEST(WsMask, IsTheSameByteByByteAtAnyOffsetAndAlignment) {
  const std::array<unsigned char, 4> key{0x12, 0x00, 0xff, 0x9a};
  for (std::size_t size = 0; size < 100; ++size) {
    for (std::size_t offset = 0; offset < 6; ++offset) {
      for (std::size_t align = 0; align < 3; ++align) {
        std::string bytes(align + size, 'q');
        apply_mask(std::span(bytes).subspan(align), key, offset);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
          const unsigned char mask = i < align ? 0 : key[(offset + i - align) & 3];
          ASSERT_EQ(static_cast<unsigned char>(bytes[i]), 'q' ^ mask);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hubbub::protocol
