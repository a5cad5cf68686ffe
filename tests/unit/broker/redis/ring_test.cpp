#include "hubbub/broker/redis/ring.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hubbub::broker::redis {
namespace {

std::string route(int i) { return "ws:room:" + std::to_string(i); }

TEST(RedisRing, SpreadsRoutesEvenly) {
  const std::vector<Endpoint> servers{{"10.0.0.1", 6379}, {"10.0.0.2", 6379}, {"10.0.0.3", 6379}, {"10.0.0.4", 6379}};
  const Ring ring(servers);
  std::vector<int> count(servers.size());
  for (int i = 0; i < 40'000; ++i) ++count[ring.server_of(route(i))];
  for (const int n : count) {
    EXPECT_GT(n, 8'000);
    EXPECT_LT(n, 12'500);
  }
}

TEST(RedisRing, DependsOnNamesNotOnTheirOrder) {
  const std::vector<Endpoint> servers{{"a", 1}, {"b", 1}, {"c", 2}}, others{{"c", 2}, {"a", 1}, {"b", 1}};
  const Ring ring(servers), other(others);
  for (int i = 0; i < 5'000; ++i) {
    EXPECT_EQ(servers[ring.server_of(route(i))], others[other.server_of(route(i))]);
  }
}

TEST(RedisRing, AServerLessMovesItsOwnRoutesOnly) {
  const std::vector<Endpoint> servers{{"a", 1}, {"b", 1}, {"c", 1}}, fewer{{"a", 1}, {"c", 1}};
  const Ring ring(servers), smaller(fewer);
  int moved = 0;
  for (int i = 0; i < 9'000; ++i) {
    const Endpoint before = servers[ring.server_of(route(i))];
    if (before == servers[1]) {
      ++moved;
    } else {
      EXPECT_EQ(before, fewer[smaller.server_of(route(i))]);
    }
  }
  EXPECT_GT(moved, 2'000);
}

}  // namespace
}  // namespace hubbub::broker::redis
