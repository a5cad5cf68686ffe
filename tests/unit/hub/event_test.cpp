#include "hubbub/hub/event.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "hubbub/protocol/ws_frame.hpp"

namespace hubbub::hub {
namespace {

std::string plain_frame(std::string_view json) {
  std::string frame;
  protocol::append_frame(frame, protocol::Opcode::kText, json);
  return frame;
}

TEST(Framer, WrapsJsonInOneTextFrame) {
  Framer framer(512, 1);
  Event event;
  event.json = R"({"a":1})";
  std::string out = "before";
  framer.append(out, Framing::kWebSocket, event);
  EXPECT_EQ(out, "before" + plain_frame(event.json));
}

TEST(Framer, CompressesOnlyFromTheThresholdOnAndOnlyWhereNegotiated) {
  Framer framer(100, 1);
  for (const std::size_t size : {99U, 100U}) {
    Event event;
    event.json.assign(size, 'x');
    std::string from_event, from_text, plain;
    framer.append(from_event, Framing::kWebSocketDeflate, event);
    framer.append(from_text, Framing::kWebSocketDeflate, event.json);
    framer.append(plain, Framing::kWebSocket, event);
    EXPECT_EQ(from_event, from_text);
    EXPECT_EQ(plain, plain_frame(event.json));
    EXPECT_EQ((from_event[0] & 0x40) != 0, size == 100);  // RSV1
    EXPECT_EQ(from_event.size() < plain.size(), size == 100);
  }
}

TEST(Event, IsCompressedOnceForAllShards) {
  Event event;
  event.json.assign(10'000, 'x');
  std::vector<const std::string*> seen(4);
  std::vector<std::thread> shards;
  for (auto& slot : seen) {
    shards.emplace_back([&event, &slot] {
      protocol::Deflater deflater(1);
      slot = &event.deflated(deflater);
    });
  }
  for (std::thread& shard : shards) shard.join();
  for (const std::string* each : seen) EXPECT_EQ(each, seen[0]);
  protocol::Inflater inflater;
  std::string out;
  ASSERT_EQ(inflater.inflate(*seen[0], out, 1 << 20), protocol::Inflater::Result::kOk);
  EXPECT_EQ(out, event.json);
}

}  // namespace
}  // namespace hubbub::hub
