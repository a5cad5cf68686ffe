// Any bytes, cut in any way, decode to the same events and the same verdict, within the limits.
// Input: flags, eight chunk sizes, then the client's stream.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "hubbub/protocol/utf8.hpp"
#include "hubbub/protocol/ws_deflate.hpp"
#include "hubbub/protocol/ws_frame.hpp"

namespace {

using namespace hubbub::protocol;

#define CHECK(condition) \
  if (!(condition)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), std::abort()

constexpr std::size_t kChunkSizes = 8;
constexpr std::size_t kLimits[] = {16, 300, 70000, 1 << 20};

struct Setup {
  DecoderConfig config;
  std::size_t stop_after = SIZE_MAX;
};

class Recorder final : public FrameSink {
 public:
  explicit Recorder(const Setup& setup) : setup_(setup) {}

  bool on_message(Opcode opcode, std::string_view payload) override {
    CHECK(opcode == Opcode::kText || opcode == Opcode::kBinary);
    CHECK(payload.size() <= setup_.config.message_max_bytes);
    CHECK(opcode != Opcode::kText || is_valid_utf8(payload));
    return add(opcode == Opcode::kText ? 't' : 'b', payload);
  }
  bool on_ping(std::string_view payload) override { return add_control('i', payload); }
  bool on_pong(std::string_view payload) override { return add_control('o', payload); }
  bool on_close(std::uint16_t code, std::string_view reason) override {
    CHECK(code == kCloseNoStatus || is_sendable_close_code(code));
    CHECK(is_valid_utf8(reason));
    closed = true;
    return add_control('c', std::to_string(code) + std::string(reason));
  }

  std::vector<std::string> events;
  bool closed = false;
  bool stopped = false;

 private:
  bool add(char kind, std::string_view payload) {
    CHECK(!stopped);
    events.push_back(kind + std::string(payload));
    stopped = closed || events.size() >= setup_.stop_after;
    return !stopped;
  }
  bool add_control(char kind, std::string_view payload) {
    CHECK(payload.size() <= 130);
    return add(kind, payload);
  }

  const Setup& setup_;
};

struct Outcome {
  std::vector<std::string> events;
  std::uint16_t code = 0;
  std::string reason;
  bool idle = false;
  bool finished = false;
  bool operator==(const Outcome&) const = default;
};

template <class NextChunk>
Outcome decode(const Setup& setup, std::string_view stream, NextChunk next_chunk) {
  static Inflater inflater;
  Recorder sink(setup);
  Decoder decoder;
  Outcome outcome;
  std::size_t fed = 0;
  while (fed < stream.size()) {
    const std::size_t size = std::min(next_chunk(), stream.size() - fed);
    // Its own heap block, so that a step outside is seen.
    std::vector<char> chunk(stream.begin() + static_cast<std::ptrdiff_t>(fed),
                            stream.begin() + static_cast<std::ptrdiff_t>(fed + size));
    fed += size;
    const DecodeResult result = decoder.feed(chunk, setup.config, &inflater, sink);
    CHECK(decoder.buffered_bytes() <= 512 + 2 * fed);
    CHECK(decoder.idle() == (decoder.buffered_bytes() == 0));
    if (result.close_code != 0) {
      CHECK(outcome.code == 0 && !sink.stopped);
      CHECK(result.close_code == 1002 || result.close_code == 1007 || result.close_code == 1009);
      outcome.code = result.close_code;
      outcome.reason = result.reason;
    }
    CHECK(decoder.finished() == (outcome.code != 0 || sink.stopped));
  }
  outcome.events = std::move(sink.events);
  outcome.idle = decoder.idle();
  outcome.finished = decoder.finished();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 + kChunkSizes) return 0;
  Setup setup;
  setup.config = {kLimits[data[0] >> 1 & 3], (data[0] & 1) != 0};
  if (const std::size_t stop = data[0] >> 3 & 7; stop != 0) setup.stop_after = stop;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1 + kChunkSizes, size - 1 - kChunkSizes);

  const Outcome whole = decode(setup, stream, [&] { return stream.size(); });
  std::size_t turn = 0;
  CHECK(whole == decode(setup, stream, [&] { return std::size_t{1} + data[1 + turn++ % kChunkSizes]; }));
  if (stream.size() <= 2000) CHECK(whole == decode(setup, stream, [] { return std::size_t{1}; }));
  return 0;
}
