#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using test::RedisClient;
using test::RedisServer;

TEST(RedisClientRing, PutsEachRouteOnOneServerAndItsChannelToo) {
  std::array<RedisServer, 3> servers;
  ClientOptions options;
  options.topology = Topology::kRing;
  for (const RedisServer& server : servers) options.endpoints.push_back(server.endpoint());
  RedisClient client(options);
  std::vector<RedisClient::AnswerPtr> answers;
  for (int i = 0; i < 60; ++i) {
    const std::string route = "route" + std::to_string(i);
    answers.push_back(client.subscribe(route));
    answers.push_back(client.send(route, {"SET", Client::key(route, "x"), route}));
  }
  ASSERT_TRUE(client.run_until(
      [&] { return std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer->done; }); }));
  for (int i = 0; i < 60; ++i) {
    const std::string route = "route" + std::to_string(i);
    EXPECT_EQ(client.call(route, {"GET", Client::key(route, "x")}).reply.text(), route);
    EXPECT_EQ(client.call(route, {"PUBLISH", route, "hello"}).reply.integer(), 1);
  }
  std::int64_t kept = 0;
  for (const RedisServer& server : servers) {
    const auto here = server.call({"DBSIZE"}).integer();
    EXPECT_GT(here, 0);
    kept += here;
  }
  EXPECT_EQ(kept, 60);
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 60; }));
  EXPECT_TRUE(client.client().is_ready());
  servers[1].stop();
  ASSERT_TRUE(client.run_until([&] { return !client.client().is_ready(); }));
}

}  // namespace
}  // namespace hubbub::broker::redis
