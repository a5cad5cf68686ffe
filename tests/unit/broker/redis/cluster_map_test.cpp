#include "hubbub/broker/redis/cluster_map.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hubbub/broker/redis/reply_reader.hpp"

namespace hubbub::broker::redis {
namespace {

Reply reply_of(std::string_view bytes) {
  ReplyReader reader;
  Reply reply;
  reader.consume(bytes, [&](Reply&& r) {
    reply = std::move(r);
    return false;
  });
  return reply;
}

TEST(RedisClusterMap, ReadsClusterSlotsAndLeavesOutWhatMakesNoSense) {
  const auto ranges = parse_cluster_slots(reply_of("*6\r\n"
                                                   "*4\r\n:0\r\n:5460\r\n*3\r\n$8\r\n10.0.0.1\r\n:7000\r\n$2\r\nid\r\n"
                                                   "*2\r\n$8\r\n10.0.0.9\r\n:7009\r\n"
                                                   "*3\r\n:5461\r\n:5461\r\n*2\r\n$0\r\n\r\n:7001\r\n"
                                                   "*3\r\n:5462\r\n:6000\r\n*2\r\n$-1\r\n:7002\r\n"
                                                   "*3\r\n:9\r\n:8\r\n*2\r\n$1\r\nh\r\n:1\r\n"
                                                   "*3\r\n:9\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n"
                                                   "*3\r\n:9\r\n:10\r\n*2\r\n$1\r\nh\r\n:70000\r\n"),
                                          {"asked", 1});
  ASSERT_EQ(ranges.size(), 3U);
  EXPECT_EQ(ranges[0].last, 5460U);
  EXPECT_EQ(ranges[0].master, (Endpoint{"10.0.0.1", 7000}));
  EXPECT_EQ(ranges[1].first, 5461U);
  EXPECT_EQ(ranges[1].master, (Endpoint{"asked", 7001}));
  EXPECT_EQ(ranges[2].master, (Endpoint{"asked", 7002}));
  EXPECT_TRUE(parse_cluster_slots(reply_of("-ERR This instance has cluster support disabled\r\n"), {}).empty());
}

TEST(RedisClusterMap, ReadsRedirects) {
  auto redirect = parse_redirect("MOVED 3999 127.0.0.1:6381", {"asked", 1});
  ASSERT_TRUE(redirect);
  EXPECT_FALSE(redirect->ask);
  EXPECT_EQ(redirect->slot, 3999U);
  EXPECT_EQ(redirect->target, (Endpoint{"127.0.0.1", 6381}));
  redirect = parse_redirect("ASK 1 ::1:6381", {});
  ASSERT_TRUE(redirect);
  EXPECT_TRUE(redirect->ask);
  EXPECT_EQ(redirect->target, (Endpoint{"::1", 6381}));
  EXPECT_EQ(parse_redirect("MOVED 1 :6381", {"asked", 1})->target, (Endpoint{"asked", 6381}));
  for (const auto* text : {"", "MOVED", "MOVED 1", "MOVED 1 h", "MOVED x h:1", "MOVED 16384 h:1", "MOVED 1 h:0",
                           "MOVED 1 h:99999", "MOVED  1 h:1", "ERR MOVED 1 h:1"}) {
    EXPECT_FALSE(parse_redirect(text, {})) << text;
  }
}

}  // namespace
}  // namespace hubbub::broker::redis
