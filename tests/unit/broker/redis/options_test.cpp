#include "hubbub/broker/redis/options.hpp"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

namespace hubbub::broker::redis {
namespace {

ClientOptions good(const std::vector<std::string>& urls) {
  auto parsed = parse_redis_urls(urls);
  if (const auto* problem = std::get_if<std::string>(&parsed)) {
    ADD_FAILURE() << urls.front() << ": " << *problem;
    return {};
  }
  return std::get<ClientOptions>(std::move(parsed));
}

std::string problem_of(const std::vector<std::string>& urls) {
  auto parsed = parse_redis_urls(urls);
  return std::holds_alternative<std::string>(parsed) ? std::get<std::string>(parsed) : std::string();
}

TEST(RedisOptions, OneServer) {
  ClientOptions options = good({"redis://localhost"});
  EXPECT_EQ(options.topology, Topology::kSingle);
  EXPECT_EQ(options.endpoints, (std::vector<Endpoint>{{"localhost", 6379}}));
  EXPECT_FALSE(options.tls);
  EXPECT_EQ(options.user + options.password, "");

  options = good({"rediss://us%3Aer:p%40ss%2fw%25@redis.example:7000/12"});
  EXPECT_TRUE(options.tls);
  EXPECT_EQ(options.user, "us:er");
  EXPECT_EQ(options.password, "p@ss/w%");
  EXPECT_EQ(options.database, 12U);

  options = good({"REDIS://:secret@[::1]:7000/"});
  EXPECT_EQ(options.user, "");
  EXPECT_EQ(options.password, "secret");
  EXPECT_EQ(options.endpoints, (std::vector<Endpoint>{{"::1", 7000}}));
  EXPECT_EQ(good({"redis://[fe80::2]"}).endpoints, (std::vector<Endpoint>{{"fe80::2", 6379}}));
  EXPECT_EQ(good({"redis://:a:b@h"}).password, "a:b");
}

TEST(RedisOptions, SeveralServersAreARing) {
  const ClientOptions options = good({"redis://:x@a/1", "redis://:x@b:1/1", "redis://:x@c/1"});
  EXPECT_EQ(options.topology, Topology::kRing);
  EXPECT_EQ(options.endpoints, (std::vector<Endpoint>{{"a", 6379}, {"b", 1}, {"c", 6379}}));
  EXPECT_NE(problem_of({"redis://a", "rediss://b"}), "");
  EXPECT_NE(problem_of({"redis://a", "redis://b/1"}), "");
  EXPECT_NE(problem_of({"redis://a", "redis://a"}), "");
  EXPECT_NE(problem_of({"redis://a", "redis+cluster://b"}), "");
  EXPECT_NE(problem_of({"redis+cluster://a", "redis://b"}), "");
}

TEST(RedisOptions, SentinelAndCluster) {
  ClientOptions options = good({"redis+sentinel://u:p@s1,s2:26380,[::1]/the-master/3"});
  EXPECT_EQ(options.topology, Topology::kSentinel);
  EXPECT_EQ(options.endpoints, (std::vector<Endpoint>{{"s1", 26379}, {"s2", 26380}, {"::1", 26379}}));
  EXPECT_EQ(options.sentinel_master, "the-master");
  EXPECT_EQ(options.database, 3U);
  EXPECT_EQ(options.user + "/" + options.password, "u/p");

  options = good({"rediss+cluster://a,b:7001"});
  EXPECT_EQ(options.topology, Topology::kCluster);
  EXPECT_TRUE(options.tls);
  EXPECT_EQ(options.endpoints.size(), 2U);
}

TEST(RedisOptions, SaysWhatIsWrongWithoutThePassword) {
  for (const std::string url : {"",
                                "localhost:6379",
                                "http://h",
                                "redis://",
                                "redis://:hunter2@",
                                "redis://:hunter2@h:0",
                                "redis://:hunter2@h:65536",
                                "redis://:hunter2@h:12x",
                                "redis://:hunter2@h/x",
                                "redis://hunter2@h",
                                "redis://u:hunter2%@h",
                                "redis://u:hunter2%4@h",
                                "redis://u:hunter2%zz@h",
                                "redis://u:hunter2/3@h",
                                "redis://u:hunter2@hunter2@h",
                                "redis://u:hunter2",
                                "redis://:hunter2@a,b",
                                "redis://::1",
                                "redis://:hunter2@[::1",
                                "redis://:hunter2@[::1]x",
                                "redis://h?password=hunter2",
                                "redis://h#x",
                                "redis://:@h",
                                "redis+sentinel://:hunter2@h",
                                "redis+sentinel://:hunter2@h/",
                                "redis+sentinel://:hunter2@h,/m",
                                "redis+cluster://:hunter2@h/1",
                                "redis+cluster://h,h",
                                "redis://:hunter2@h/1/2",
                                "redis://h /1"}) {
    const std::string problem = problem_of({url});
    EXPECT_NE(problem, "") << url;
    EXPECT_EQ(problem.find("hunter2"), std::string::npos) << problem;
  }
  EXPECT_NE(problem_of({}), "");
}

TEST(RedisOptions, MasksPasswordsAlsoInWhatIsNoUrl) {
  EXPECT_EQ(masked_redis_url("redis://h:1/2"), "redis://h:1/2");
  EXPECT_EQ(masked_redis_url("redis://u:hunter2@h:1/2"), "redis://u:***@h:1/2");
  EXPECT_EQ(masked_redis_url("redis://:hunter2@h"), "redis://:***@h");
  EXPECT_EQ(masked_redis_url("redis://hunter2@h"), "redis://***@h");
  EXPECT_EQ(masked_redis_url("redis://u:hun@ter2/@h"), "redis://u:***@h");
  EXPECT_EQ(masked_redis_url("u:hunter2@h"), "u:***@h");
  EXPECT_EQ(masked_redis_url("hunter2@h"), "***@h");
}

}  // namespace
}  // namespace hubbub::broker::redis
