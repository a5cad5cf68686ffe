#include "hubbub/broker/redis/context.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace hubbub::broker::redis {
namespace {

TEST(RedisContext, ErrorsThatTellArgumentsAreCut) {
  EXPECT_EQ(loggable("ERR unknown command 'AUTH', with args beginning with: 'hunter2' "),
            "ERR unknown command 'AUTH',");
  EXPECT_EQ(loggable("WRONGTYPE no"), "WRONGTYPE no");
  EXPECT_EQ(loggable(std::string(1'000, 'x')).size(), 200U);
  EXPECT_EQ(error_code_of("MOVED 1 h:2"), "MOVED");
  EXPECT_EQ(error_code_of(""), "");
}

TEST(RedisBackoff, DoublesItsBoundAndSpreadsBelowIt) {
  Backoff backoff(50, 2'000);
  std::int64_t bound = 50, largest = 0;
  for (int i = 0; i < 200; ++i) {
    const auto wait = backoff.next_ms();
    EXPECT_GE(wait, 0);
    EXPECT_LE(wait, bound);
    largest = std::max(largest, wait);
    bound = std::min<std::int64_t>(bound * 2, 2'000);
  }
  EXPECT_GT(largest, 1'000);
  backoff.reset();
  EXPECT_LE(backoff.next_ms(), 50);
}

TEST(RedisLifeline, GuardsHandlersAgainstTheEndOfTheirObject) {
  int calls = 0;
  auto life = std::make_unique<Lifeline>();
  auto handler = life->guard([&](int by) { calls += by; });
  handler(2);
  life.reset();
  handler(2);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace hubbub::broker::redis
