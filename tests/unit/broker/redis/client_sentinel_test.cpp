#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using namespace std::chrono_literals;
using test::RedisClient;
using test::RedisServer;
using test::wait_until;

/// A master, a replica of it, and a sentinel that has found both.
class RedisClientSentinel : public testing::Test {
 protected:
  void SetUp() override {
    master_ = std::make_unique<RedisServer>();
    const std::string port = std::to_string(master_->port());
    replica_ = std::make_unique<RedisServer>(std::vector<std::string>{"--replicaof", "127.0.0.1 " + port});
    ASSERT_TRUE(wait_until([&] {
      return replica_->call({"INFO", "replication"}).text().find("master_link_status:up") != std::string_view::npos;
    }));
    sentinel_ = std::make_unique<RedisServer>(RedisServer::Options{
        .args = {},
        .sentinel = true,
        .config = "sentinel monitor the-master 127.0.0.1 " + port +
                  " 1\nsentinel down-after-milliseconds the-master 700\nsentinel failover-timeout the-master 4000"});
    ASSERT_TRUE(wait_until(
        [&] {
          const Reply replicas = sentinel_->call({"SENTINEL", "REPLICAS", "the-master"});
          if (replicas.size() != 1) return false;
          for (std::size_t i = 0; i + 1 < replicas[0].size(); i += 2) {
            if (replicas[0][i].text() == "master-link-status") return replicas[0][i + 1].text() == "ok";
          }
          return false;
        },
        30s));
  }

  ClientOptions options() const {
    ClientOptions options;
    options.topology = Topology::kSentinel;
    options.endpoints = {{"127.0.0.1", dead_sentinel_}, sentinel_->endpoint()};
    options.sentinel_master = "the-master";
    options.wait_ms = 20'000L * test::slowness();
    return options;
  }

  /// Sends while the master goes, and expects that nothing fails and the order stays. What a master answers while it
  /// is being replaced is lost with it (replication is asynchronous): `may_lose`.
  void expect_smooth_failover(const std::function<void()>& lose_master, bool may_lose = false) {
    RedisClient client(options());
    const std::string key = Client::key("r", "list");
    const auto subscribed = client.subscribe("news");
    ASSERT_TRUE(client.run_until([&] { return subscribed->done; }));
    ASSERT_EQ(client.call("r", {"RPUSH", key, "first"}).reply.integer(), 1);
    lose_master();
    std::vector<RedisClient::AnswerPtr> answers;
    ASSERT_TRUE(client.run_until(
        [&] {
          if (answers.size() < 400) answers.push_back(client.send("r", {"RPUSH", key, std::to_string(answers.size())}));
          client.run_for(1ms);
          return answers.size() == 400 && answers.back()->done && client.resubscribed["news"] == 1;
        },
        30s));
    for (const auto& answer : answers) ASSERT_FALSE(answer->error) << answer->error.message();
    const Reply list = replica_->call({"LRANGE", key, "0", "-1"});
    std::vector<std::string> first_times;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string value(list[i].text());
      if (std::find(first_times.begin(), first_times.end(), value) == first_times.end()) first_times.push_back(value);
    }
    std::erase(first_times, "first");
    ASSERT_FALSE(first_times.empty());
    EXPECT_EQ(first_times.back(), "399");
    EXPECT_TRUE(std::is_sorted(first_times.begin(), first_times.end(),
                               [](const auto& a, const auto& b) { return std::stoi(a) < std::stoi(b); }));
    if (!may_lose) {
      EXPECT_EQ(first_times.size(), 400U);
    }
    EXPECT_EQ(replica_->call({"PUBLISH", "news", "x"}).integer(), 1);
    EXPECT_TRUE(client.client().is_ready());
  }

  const std::uint16_t dead_sentinel_ = test::free_port();
  std::unique_ptr<RedisServer> master_, replica_, sentinel_;
};

TEST_F(RedisClientSentinel, FollowsAFailoverWhenTheMasterIsKilled) {
  expect_smooth_failover([this] { master_->kill9(); });
}

TEST_F(RedisClientSentinel, FollowsAFailoverWhenTheMasterIsFrozen) {
  expect_smooth_failover([this] { master_->freeze(); });
}

TEST_F(RedisClientSentinel, FollowsAFailoverWhileAllAreWell) {
  expect_smooth_failover([this] { sentinel_->call({"SENTINEL", "FAILOVER", "the-master"}); }, true);
}

TEST_F(RedisClientSentinel, AnUnknownNameIsNotAvailable) {
  ClientOptions options = this->options();
  options.sentinel_master = "another";
  options.wait_ms = 400;
  RedisClient client(options);
  EXPECT_EQ(client.call("r", {"PING"}).error, RedisError::kUnavailable);
}

}  // namespace
}  // namespace hubbub::broker::redis
