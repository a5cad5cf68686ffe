// What a client makes of servers that misbehave, and of owners that do.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "support/fake_redis.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using namespace std::chrono_literals;
using test::FakeRedis;
using test::RedisClient;
using test::RedisServer;
using Words = std::vector<std::string>;

ClientOptions options_of(const Endpoint& endpoint) {
  ClientOptions options;
  options.endpoints = {endpoint};
  options.backoff_max_ms = 100;
  return options;
}

/// Words that came, from the fake's thread.
class Record {
 public:
  void add(const std::string& word) {
    const std::lock_guard lock(mutex_);
    words_.push_back(word);
  }
  Words words() const {
    const std::lock_guard lock(mutex_);
    return words_;
  }

 private:
  mutable std::mutex mutex_;
  Words words_;
};

TEST(RedisClientFaults, WhatIsTurnedAwayIsTriedAgainInOrder) {
  Record record;
  FakeRedis fake([&](int, const Words& command) -> std::string {
    if (command[0] != "SET") return "+PONG\r\n";
    record.add(command[1]);
    const auto seen = record.words().size();
    return seen <= 3 ? "-UNBLOCKED force unblock\r\n" : seen <= 6 ? "-LOADING Redis is loading\r\n" : "+OK\r\n";
  });
  RedisClient client(options_of(fake.endpoint()));
  std::vector<RedisClient::AnswerPtr> answers;
  for (const auto* n : {"1", "2", "3"}) answers.push_back(client.send("r", {"SET", n, "x"}));
  ASSERT_TRUE(client.run_until([&] { return answers.back()->done; }));
  for (const auto& answer : answers) EXPECT_EQ(answer->reply.text(), "OK");
  EXPECT_EQ(record.words(), (Words{"1", "2", "3", "1", "2", "3", "1", "2", "3"}));
}

TEST(RedisClientFaults, AServerThatIsLoadingIsNotUpYet) {
  std::atomic<int> pings{0};
  FakeRedis fake([&](int, const Words& command) -> std::string {
    if (command[0] == "PING") return ++pings <= 4 ? "-LOADING Redis is loading\r\n" : "+PONG\r\n";
    return "+OK\r\n";
  });
  RedisClient client(options_of(fake.endpoint()));
  EXPECT_EQ(client.call("r", {"SET", "a", "b"}).reply.text(), "OK");
  EXPECT_GE(fake.connections(), 4);
}

TEST(RedisClientFaults, GarbageCostsTheConnectionAndNoAnswer) {
  for (const std::string garbage : {"HTTP/1.1 400\r\n\r\n", "$-7\r\n", "*9999999\r\n", "+OK\r\n+OK\r\n+OK\r\n"}) {
    Record record;
    FakeRedis fake([&](int, const Words& command) -> std::string {
      if (command[0] != "SET") return "+PONG\r\n";
      record.add(command[1]);
      return record.words().size() == 1 ? garbage : "+OK\r\n";
    });
    RedisClient client(options_of(fake.endpoint()));
    const auto first = client.send("r", {"SET", "1", "x"});
    EXPECT_TRUE(client.run_until([&] { return first->done; }));
    EXPECT_EQ(client.call("r", {"SET", "2", "x"}).reply.text(), "OK") << garbage;
    EXPECT_EQ(first->reply.text(), "OK");
  }
}

TEST(RedisClientFaults, AnErrorIsTheCommandsOwn) {
  RedisServer server;
  RedisClient client(options_of(server.endpoint()));
  const auto wrong = client.send("r", {"NOSUCH", "x"});
  const auto right = client.send("r", {"ECHO", "x"});
  ASSERT_TRUE(client.run_until([&] { return right->done; }));
  EXPECT_EQ(wrong->error, RedisError::kServer);
  EXPECT_EQ(right->reply.text(), "x");
  EXPECT_TRUE(client.client().is_ready());
  EXPECT_EQ(client.client().usage().failed, 1U);
}

TEST(RedisClientFaults, TheQueueHasABound) {
  ClientOptions options = options_of({"127.0.0.1", test::free_port()});
  options.queue_bytes = 1'000;
  options.wait_ms = 300;
  RedisClient client(options);
  std::vector<RedisClient::AnswerPtr> answers;
  for (int i = 0; i < 40; ++i) answers.push_back(client.send("r", {"SET", "key", std::string(70, 'x')}));
  EXPECT_FALSE(answers.back()->done);
  EXPECT_LE(client.client().usage().queued_bytes, 1'000U);
  ASSERT_TRUE(client.run_until(
      [&] { return std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer->done; }); }));
  EXPECT_EQ(answers.front()->error, RedisError::kUnavailable);
  EXPECT_EQ(answers.back()->error, RedisError::kOverloaded);
  EXPECT_EQ(client.client().usage().queued_bytes, 0U);
  EXPECT_EQ(client.client().usage().failed, 40U);
  EXPECT_FALSE(client.client().is_ready());
}

TEST(RedisClientFaults, ItMayBeDestroyedInAnyCallback) {
  RedisServer server;
  {
    RedisClient client(options_of(server.endpoint()));
    Command command(1);
    client.client().send("r", std::move(command.add("PING")), [&](base::Result<Reply>) { client.destroy(); });
    const auto never = client.send("r", {"PING"});
    client.run_for(200ms);
    EXPECT_FALSE(never->done);
  }
  {
    RedisClient client(options_of(server.endpoint()));
    bool gone = false;
    client.on_any_message = [&] {
      client.destroy();
      gone = true;
    };
    const auto subscribed = client.subscribe("c");
    ASSERT_TRUE(client.run_until([&] { return subscribed->done; }));
    server.call({"PUBLISH", "c", "1"});
    server.call({"PUBLISH", "c", "2"});
    EXPECT_TRUE(client.run_until([&] { return gone; }));
    EXPECT_EQ(client.messages.size(), 1U);
  }
  ClientOptions options = options_of({"127.0.0.1", test::free_port()});
  options.wait_ms = 50;
  RedisClient client(options);
  bool gone = false;
  for (int i = 0; i < 3; ++i) {
    Command command(1);
    client.client().send("r", std::move(command.add("PING")), [&](base::Result<Reply>) {
      EXPECT_FALSE(gone);
      client.destroy();
      gone = true;
    });
  }
  EXPECT_TRUE(client.run_until([&] { return gone; }));
}

TEST(RedisClientFaults, DoesNotSpeakBeforeTheLogin) {
  RedisServer server(std::vector<std::string>{"--requirepass", "s3cret", "--user", "app", "on", ">pa:ss", "~*", "&*",
                                              "+@all", "--databases", "4"});
  ClientOptions options = options_of(server.endpoint());
  options.password = "s3cret";
  options.database = 3;
  RedisClient by_password(options);
  EXPECT_EQ(by_password.call("r", {"SET", "a", "b"}).reply.text(), "OK");
  EXPECT_NE(by_password.call("r", {"CLIENT", "INFO"}).reply.text().find(" db=3 "), std::string_view::npos);
  const auto subscribed = by_password.subscribe("c");
  EXPECT_TRUE(by_password.run_until([&] { return subscribed->done; }));

  options.user = "app";
  options.password = "pa:ss";
  RedisClient by_user(options);
  EXPECT_EQ(by_user.call("r", {"ACL", "WHOAMI"}).reply.text(), "app");

  options.password = "wrong";
  options.wait_ms = 400;
  RedisClient refused(options);
  EXPECT_EQ(refused.call("r", {"PING"}).error, RedisError::kUnavailable);
  EXPECT_FALSE(refused.client().is_ready());
}

TEST(RedisClientFaults, OneForbiddenChannelDoesNotSpoilTheOthers) {
  RedisServer server(std::vector<std::string>{"--user", "app", "on", ">x", "~*", "resetchannels", "&good*", "+@all"});
  ClientOptions options = options_of(server.endpoint());
  options.user = "app";
  options.password = "x";
  RedisClient client(options);
  std::vector<RedisClient::AnswerPtr> answers;
  for (const auto* name : {"good1", "bad", "good2"}) answers.push_back(client.subscribe(name));
  ASSERT_TRUE(client.run_until([&] { return answers[0]->done && answers[1]->done && answers[2]->done; }));
  EXPECT_FALSE(answers[0]->error);
  EXPECT_EQ(answers[1]->error, RedisError::kServer);
  EXPECT_FALSE(answers[2]->error);
  EXPECT_EQ(client.client().usage().subscriptions, 2U);
}

TEST(RedisClientFaults, ThousandsOfSubscriptionsStandAgainAfterACut) {
  RedisServer server;
  RedisClient client(options_of(server.endpoint()));
  constexpr int kMany = 3'000;
  RedisClient::AnswerPtr last;
  for (int i = 0; i < kMany; ++i) last = client.subscribe("c" + std::to_string(i));
  ASSERT_TRUE(client.run_until([&] { return last->done; }));
  server.call({"CLIENT", "KILL", "TYPE", "pubsub"});
  ASSERT_TRUE(client.run_until([&] { return client.resubscribed.size() == kMany; }));
  for (const auto& [channel, times] : client.resubscribed) EXPECT_EQ(times, 1) << channel;
  EXPECT_EQ(server.call({"PUBLISH", "c2999", "x"}).integer(), 1);
}

TEST(RedisClientFaults, ANameThatIsNoAddressIsResolvedAndAnUnknownOneIsTriedOn) {
  RedisServer server;
  RedisClient client(options_of({"localhost", server.port()}));
  EXPECT_EQ(client.call("r", {"PING"}).reply.text(), "PONG");
  ClientOptions options = options_of({"no-such-host.invalid", 6379});
  options.wait_ms = 300;
  RedisClient lost(options);
  EXPECT_EQ(lost.call("r", {"PING"}).error, RedisError::kUnavailable);
}

}  // namespace
}  // namespace hubbub::broker::redis
