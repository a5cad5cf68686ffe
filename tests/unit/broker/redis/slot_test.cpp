#include "hubbub/broker/redis/slot.hpp"

#include <gtest/gtest.h>

#include <string>

#include "hubbub/broker/redis/client.hpp"

namespace hubbub::broker::redis {
namespace {

TEST(RedisSlot, IsWhatTheClusterSpecificationSays) {
  EXPECT_EQ(crc16("123456789"), 0x31C3);
  EXPECT_EQ(slot_of(""), 0U);
  EXPECT_EQ(slot_of("foo"), 12182U);
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("user1000"));
  EXPECT_EQ(slot_of("foo{}{bar}"), crc16("foo{}{bar}") % kSlots);
  EXPECT_EQ(slot_of("foo{{bar}}zap"), slot_of("{bar"));
  EXPECT_EQ(slot_of("foo{bar}{zap}"), slot_of("bar"));
  EXPECT_EQ(slot_of("foo{bar"), crc16("foo{bar") % kSlots);
}

TEST(RedisSlot, EverySlotHasAShortTagOfItsOwn) {
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    const std::string tag = tag_of(slot);
    EXPECT_EQ(slot_of(tag), slot);
    EXPECT_LE(tag.size(), 6U);
  }
  // They are in the names of kept keys: these may never be others.
  EXPECT_EQ(tag_of(slot_of("0")), "0");
  EXPECT_EQ(tag_of(0), "3560");
}

TEST(RedisSlot, KeysLiveWithTheChannelWhoseRouteTheyAreOfWhateverItsName) {
  for (const std::string route : {"ws:room:a", "ws:room:{x}", "ws:room:a}{b", "ws:room:{}", "", "ws:user:\xff {\n"}) {
    const std::string key = Client::key(route, "stream:" + route);
    EXPECT_EQ(slot_of(key), slot_of(route)) << route;
    EXPECT_TRUE(key.starts_with("hubbub:{"));
    EXPECT_TRUE(key.ends_with("}:stream:" + route));
  }
}

}  // namespace
}  // namespace hubbub::broker::redis
