#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hubbub/broker/redis/slot.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using namespace std::chrono_literals;
using test::RedisClient;
using test::RedisServer;
using test::wait_until;

/// Three masters with a third of the slots each, and a replica of the first if wanted.
class RedisClientCluster : public testing::Test {
 protected:
  void form(bool with_replica) {
    const std::size_t count = with_replica ? 4 : 3;
    for (std::size_t i = 0; i < count; ++i) {
      nodes_.push_back(std::make_unique<RedisServer>(
          RedisServer::Options{.args = {"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor",
                                        "0", "--cluster-allow-replica-migration", "no"},
                               .cluster = true}));
      nodes_[i]->call({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
      ids_.emplace_back(nodes_[i]->call({"CLUSTER", "MYID"}).text());
    }
    const std::vector<std::pair<int, int>> ranges{{0, 5460}, {5461, 10922}, {10923, 16383}};
    for (std::size_t i = 0; i < 3; ++i) {
      nodes_[i]->call({"CLUSTER", "ADDSLOTSRANGE", std::to_string(ranges[i].first), std::to_string(ranges[i].second)});
    }
    for (std::size_t i = 1; i < count; ++i) {
      nodes_[0]->call(
          {"CLUSTER", "MEET", "127.0.0.1", std::to_string(nodes_[i]->port()), std::to_string(nodes_[i]->bus_port())});
    }
    const auto all_know = [&] {
      return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
        const std::string info(node->call({"CLUSTER", "INFO"}).text());
        return info.find("cluster_state:ok") != std::string::npos &&
               info.find("cluster_known_nodes:" + std::to_string(count)) != std::string::npos &&
               node->call({"CLUSTER", "SLOTS"}).size() == 3;
      });
    };
    ASSERT_TRUE(wait_until(all_know, 30s));
    if (!with_replica) return;
    nodes_[3]->call({"CLUSTER", "REPLICATE", ids_[0]});
    ASSERT_TRUE(wait_until(
        [&] {
          return nodes_[3]->call({"INFO", "replication"}).text().find("master_link_status:up") !=
                     std::string_view::npos &&
                 std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
                   return node->call({"CLUSTER", "NODES"}).text().find(ids_[3] + " ") != std::string_view::npos &&
                          node->call({"CLUSTER", "REPLICAS", ids_[0]}).size() == 1;
                 });
        },
        30s));
  }

  ClientOptions options() const {
    ClientOptions options;
    options.topology = Topology::kCluster;
    options.endpoints = {{"127.0.0.1", dead_}, nodes_[1]->endpoint()};
    options.wait_ms = 20'000L * test::slowness();
    options.backoff_max_ms = 300;
    return options;
  }

  /// A route whose slot the node has at first.
  static std::string route_of(std::size_t node, int i) {
    for (int n = i * 1'000;; ++n) {
      const std::string route = "ws:room:" + std::to_string(n);
      const unsigned slot = slot_of(route);
      if ((node == 0 && slot <= 5460) || (node == 1 && slot > 5460 && slot <= 10922) || (node == 2 && slot > 10922)) {
        return route;
      }
    }
  }

  void begin_move(unsigned slot, std::size_t from, std::size_t to) {
    const std::string number = std::to_string(slot);
    nodes_[to]->call({"CLUSTER", "SETSLOT", number, "IMPORTING", ids_[from]});
    nodes_[from]->call({"CLUSTER", "SETSLOT", number, "MIGRATING", ids_[to]});
  }
  void move_keys(unsigned slot, std::size_t from, std::size_t to) {
    const Reply keys = nodes_[from]->call({"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), "1000"});
    if (keys.size() == 0) return;
    std::vector<std::string> migrate{"MIGRATE", "127.0.0.1", std::to_string(nodes_[to]->port()), "", "0",
                                     "5000",    "KEYS"};
    for (std::size_t i = 0; i < keys.size(); ++i) migrate.emplace_back(keys[i].text());
    const Reply moved = nodes_[from]->call(migrate);
    ASSERT_EQ(moved.kind(), Reply::Kind::kStatus) << moved.text();
  }
  void end_move(unsigned slot, std::size_t from, std::size_t to) {
    for (const std::size_t node : {to, from}) {
      const Reply done = nodes_[node]->call({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", ids_[to]});
      ASSERT_EQ(done.text(), "OK");
    }
  }

  /// Sends to routes of all nodes while the first is lost, and expects that nothing fails and the order stays.
  void expect_smooth_failover(const std::function<void()>& lose) {
    form(true);
    RedisClient client(options());
    std::vector<std::string> routes;
    for (std::size_t node = 0; node < 3; ++node) routes.push_back(route_of(node, 1));
    std::vector<RedisClient::AnswerPtr> answers;
    for (const std::string& route : routes) answers.push_back(client.subscribe(route));
    for (const std::string& route : routes) {
      answers.push_back(client.send(route, {"RPUSH", Client::key(route, "list"), "first"}));
    }
    const auto all_done = [&] {
      return std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer->done; });
    };
    ASSERT_TRUE(client.run_until(all_done));
    ASSERT_TRUE(wait_until([&] { return nodes_[3]->call({"DBSIZE"}).integer() == 1; }));
    lose();
    for (int i = 0; i < 300; ++i) {
      for (const std::string& route : routes) {
        answers.push_back(client.send(route, {"RPUSH", Client::key(route, "list"), std::to_string(i)}));
      }
      client.run_for(2ms);
    }
    ASSERT_TRUE(client.run_until([&] { return all_done() && client.resubscribed[routes[0]] >= 1; }, 30s));
    for (const auto& answer : answers) ASSERT_FALSE(answer->error) << answer->error.message();
    for (const std::string& route : routes) expect_order(client, route, 300);
    ASSERT_TRUE(client.run_until([&] { return client.client().is_ready(); }));
    for (const std::string& route : routes) {
      EXPECT_EQ(client.call(route, {"SPUBLISH", route, "x"}).reply.integer(), 1) << route;
    }
    ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 3; }));
  }

  static void expect_order(RedisClient& client, const std::string& route, int count) {
    const Reply list = client.call(route, {"LRANGE", Client::key(route, "list"), "0", "-1"}).reply;
    std::vector<std::string> first_times;
    std::set<std::string> seen;
    for (std::size_t i = 0; i < list.size(); ++i) {
      std::string value(list[i].text());
      if (value != "first" && seen.insert(value).second) first_times.push_back(std::move(value));
    }
    ASSERT_EQ(first_times.size(), static_cast<std::size_t>(count)) << route;
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(first_times[static_cast<std::size_t>(i)], std::to_string(i)) << route;
    }
  }

  const std::uint16_t dead_ = test::free_port();
  std::vector<std::unique_ptr<RedisServer>> nodes_;
  std::vector<std::string> ids_;
};

TEST_F(RedisClientCluster, SpeaksWithTheNodeThatHasTheRoute) {
  form(false);
  const Script script =
      make_script("publish", "redis.call('SET', KEYS[1], ARGV[1]); return redis.call(ARGV[2], ARGV[3], ARGV[1])");
  RedisClient client(options(), {&script});
  EXPECT_EQ(client.client().publish_verb(), "SPUBLISH");
  std::vector<RedisClient::AnswerPtr> answers;
  for (int i = 0; i < 60; ++i) answers.push_back(client.subscribe("ws:room:{" + std::to_string(i)));
  ASSERT_TRUE(client.run_until(
      [&] { return std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer->done; }); }));
  answers.clear();
  for (int i = 0; i < 60; ++i) {
    const std::string route = "ws:room:{" + std::to_string(i);
    answers.push_back(client.send(route, std::move(Command::eval(script, 1, 3)
                                                       .add(Client::key(route, "x"))
                                                       .add("hello")
                                                       .add(client.client().publish_verb())
                                                       .add(route))));
  }
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 60; }));
  for (const auto& answer : answers) EXPECT_EQ(answer->reply.integer(), 1);
  for (const auto& node : nodes_) EXPECT_GT(node->call({"DBSIZE"}).integer(), 0);
  EXPECT_TRUE(client.client().is_ready());
}

TEST_F(RedisClientCluster, KeepsTheOrderOfARouteWhileItsSlotMovesForthAndBack) {
  form(false);
  RedisClient client(options());
  std::vector<std::string> routes;
  for (int i = 0; i < 4; ++i) routes.push_back(route_of(0, i));
  std::vector<RedisClient::AnswerPtr> answers;
  const auto all_done = [&] {
    return std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer->done; });
  };
  for (const std::string& route : routes) answers.push_back(client.subscribe(route));
  ASSERT_TRUE(client.run_until(all_done));
  int sent = 0;
  const auto send_some = [&](int count) {
    for (int i = 0; i < count; ++i, ++sent) {
      for (const std::string& route : routes) {
        answers.push_back(client.send(route, {"RPUSH", Client::key(route, "list"), std::to_string(sent)}));
      }
      if (i % 7 == 0) client.run_for(1ms);
    }
  };
  std::size_t from = 0;
  for (const std::size_t to : {1, 2, 0}) {
    send_some(50);
    for (const std::string& route : routes) begin_move(slot_of(route), from, to);
    send_some(50);
    for (const std::string& route : routes) move_keys(slot_of(route), from, to);
    send_some(50);  // to be asked for at the new one
    client.run_for(100ms);
    send_some(50);
    for (const std::string& route : routes) end_move(slot_of(route), from, to);
    send_some(50);
    from = to;
    ASSERT_TRUE(client.run_until([&] {
      return all_done() && std::all_of(routes.begin(), routes.end(), [&](const std::string& route) {
               return nodes_[to]->call({"PUBSUB", "SHARDNUMSUB", route})[1].integer() == 1;
             });
    })) << "to "
        << to;
  }
  for (const auto& answer : answers) ASSERT_FALSE(answer->error) << answer->error.message();
  for (const std::string& route : routes) expect_order(client, route, sent);
  ASSERT_TRUE(client.run_until([&] {
    return std::all_of(routes.begin(), routes.end(),
                       [&](const std::string& route) { return client.resubscribed[route] >= 3; });
  }));
  for (const std::string& route : routes) EXPECT_EQ(client.call(route, {"SPUBLISH", route, "x"}).reply.integer(), 1);
}

TEST_F(RedisClientCluster, FollowsAFailoverWhenAMasterIsKilled) {
  expect_smooth_failover([this] { nodes_[0]->kill9(); });
}

TEST_F(RedisClientCluster, FollowsAFailoverWhenAMasterIsFrozen) {
  expect_smooth_failover([this] { nodes_[0]->freeze(); });
}

TEST_F(RedisClientCluster, SlotsOfADeadNodeFailInTimeAndTheOthersGoOn) {
  form(false);
  ClientOptions options = this->options();
  options.wait_ms = 1'000L * test::slowness();
  RedisClient client(options);
  ASSERT_FALSE(client.call(route_of(0, 1), {"SET", Client::key(route_of(0, 1), "x"), "1"}).error);
  nodes_[0]->kill9();
  ASSERT_TRUE(client.run_until([&] { return !client.client().is_ready(); }));
  const auto lost = client.send(route_of(0, 1), {"GET", Client::key(route_of(0, 1), "x")});
  EXPECT_EQ(client.call(route_of(1, 1), {"SET", Client::key(route_of(1, 1), "x"), "1"}).reply.text(), "OK");
  ASSERT_TRUE(client.run_until([&] { return lost->done; }));
  EXPECT_EQ(lost->error, RedisError::kUnavailable);
  EXPECT_EQ(client.client().usage().queued_bytes, 0U);
}

}  // namespace
}  // namespace hubbub::broker::redis
