#include "hubbub/broker/redis/client.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using namespace std::chrono_literals;
using test::RedisClient;
using test::RedisServer;

ClientOptions options_of(const RedisServer& server) {
  ClientOptions options;
  options.endpoints = {server.endpoint()};
  return options;
}

const Script& append_script() {
  static const Script script = make_script("append", "return redis.call('RPUSH', KEYS[1], ARGV[1])");
  return script;
}

Command append(std::string_view route, const std::string& value) {
  return std::move(Command::eval(append_script(), 1, 1).add(Client::key(route, "list")).add(value));
}

std::vector<std::string> list_of(RedisClient& client, std::string_view route) {
  const auto answer = client.call(route, {"LRANGE", Client::key(route, "list"), "0", "-1"});
  std::vector<std::string> values;
  for (std::size_t i = 0; i < answer.reply.size(); ++i) values.emplace_back(answer.reply[i].text());
  return values;
}

/// The list without what was carried out twice: a value counts where it stands first.
std::vector<std::string> first_times(const std::vector<std::string>& values) {
  std::vector<std::string> first;
  for (const std::string& value : values) {
    if (std::find(first.begin(), first.end(), value) == first.end()) first.push_back(value);
  }
  return first;
}

std::vector<std::string> numbers(int count) {
  std::vector<std::string> all;
  for (int i = 0; i < count; ++i) all.push_back(std::to_string(i));
  return all;
}

TEST(RedisClient, AnswersCommandsInTheOrderOfTheirCalls) {
  RedisServer server;
  RedisClient client(options_of(server), {&append_script()});
  std::vector<RedisClient::AnswerPtr> answers;
  for (const std::string& n : numbers(2000)) answers.push_back(client.send("r", append("r", n)));
  EXPECT_FALSE(answers[0]->done);
  ASSERT_TRUE(client.run_until([&] { return answers.back()->done; }));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i]->reply.integer(), static_cast<std::int64_t>(i + 1));
  }
  EXPECT_EQ(list_of(client, "r"), numbers(2000));
  EXPECT_TRUE(client.client().is_ready());
  EXPECT_EQ(client.client().usage().queued_bytes, 0U);
  EXPECT_EQ(client.client().usage().commands, 2001U);
}

TEST(RedisClient, TellsOfMessagesFromTheConfirmationUntilUnsubscribe) {
  RedisServer server;
  RedisClient client(options_of(server));
  const auto first = client.subscribe("ws:room:a b{c}");
  const auto second = client.subscribe("other");
  ASSERT_TRUE(client.run_until([&] { return first->done && second->done; }));
  EXPECT_FALSE(first->error);
  server.call({"PUBLISH", "ws:room:a b{c}", std::string("x\0y", 3)});
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 1; }));
  EXPECT_EQ(client.messages[0].first, "ws:room:a b{c}");
  EXPECT_EQ(client.messages[0].second, std::string("x\0y", 3));

  client.client().unsubscribe("ws:room:a b{c}");
  server.call({"PUBLISH", "ws:room:a b{c}", "late"});
  server.call({"PUBLISH", "other", "seen"});
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 2; }));
  EXPECT_EQ(client.messages[1].second, "seen");
}

TEST(RedisClient, BearsUnsubscribeAndSubscribeInOneTurn) {
  RedisServer server;
  RedisClient client(options_of(server));
  auto last = client.subscribe("a");
  std::vector<RedisClient::AnswerPtr> aborted;
  for (int i = 0; i < 5; ++i) {
    aborted.push_back(last);
    client.client().unsubscribe("a");
    last = client.subscribe("a");
  }
  ASSERT_TRUE(client.run_until([&] { return last->done; }));
  EXPECT_FALSE(last->error);
  for (const auto& answer : aborted) EXPECT_EQ(answer->error, RedisError::kAborted);

  for (int i = 0; i < 5; ++i) {
    client.client().unsubscribe("a");
    last = client.subscribe("a");
  }
  ASSERT_TRUE(client.run_until([&] { return last->done; }));
  EXPECT_FALSE(last->error);
  EXPECT_EQ(server.call({"PUBLISH", "a", "1"}).integer(), 1);
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 1; }));
  EXPECT_EQ(client.client().usage().subscriptions, 1U);
}

TEST(RedisClient, CommandsSurviveARestartInOrderAndSubscriptionsStandAgain) {
  RedisServer server;
  RedisClient client(options_of(server), {&append_script()});
  const auto subscribed = client.subscribe("news");
  ASSERT_TRUE(client.run_until([&] { return subscribed->done; }));
  std::vector<RedisClient::AnswerPtr> answers;
  for (int i = 0; i < 100; ++i) answers.push_back(client.send("r", append("r", std::to_string(i))));
  ASSERT_TRUE(client.run_until([&] { return answers.back()->done; }));

  server.kill9();
  for (int i = 0; i < 300; ++i) {
    answers.push_back(client.send("r", append("r", std::to_string(i))));
    client.run_for(1ms);
  }
  server.restart();  // its scripts are gone, and so is its data
  ASSERT_TRUE(client.run_until([&] { return answers.back()->done && client.resubscribed["news"] == 1; }));
  for (const auto& answer : answers) EXPECT_FALSE(answer->error) << answer->error.message();
  EXPECT_EQ(first_times(list_of(client, "r")), numbers(300));
  server.call({"PUBLISH", "news", "hello"});
  ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 1; }));
  EXPECT_GE(client.client().usage().reconnects, 2U);
}

TEST(RedisClient, LoadsForgottenScriptsAgainAndKeepsTheOrder) {
  RedisServer server;
  RedisClient client(options_of(server), {&append_script()});
  ASSERT_FALSE(client.call("r", {"PING"}).error);
  server.call({"SCRIPT", "FLUSH"});
  std::vector<RedisClient::AnswerPtr> answers;
  for (const std::string& n : numbers(500)) answers.push_back(client.send("r", append("r", n)));
  ASSERT_TRUE(client.run_until([&] { return answers.back()->done; }));
  for (const auto& answer : answers) EXPECT_FALSE(answer->error) << answer->error.message();
  EXPECT_EQ(first_times(list_of(client, "r")), numbers(500));
}

TEST(RedisClient, AShortFreezeIsOnlyLatency) {
  RedisServer server;
  RedisClient client(options_of(server), {&append_script()});
  ASSERT_FALSE(client.call("r", {"PING"}).error);
  server.freeze();
  const auto answer = client.send("r", append("r", "1"));
  client.run_for(3s);
  EXPECT_FALSE(answer->done);
  server.thaw();
  ASSERT_TRUE(client.run_until([&] { return answer->done; }));
  EXPECT_FALSE(answer->error);
  EXPECT_EQ(client.client().usage().reconnects, 0U);
  EXPECT_EQ(list_of(client, "r"), std::vector<std::string>{"1"});
}

TEST(RedisClient, ALongFreezeFailsCommandsInTimeAndRecoversByItself) {
  RedisServer server;
  ClientOptions options = options_of(server);
  options.wait_ms = 600;
  options.connect_timeout_ms = 300;
  RedisClient client(options, {&append_script()});
  const auto subscribed = client.subscribe("news");
  ASSERT_TRUE(client.run_until([&] { return subscribed->done; }));
  ASSERT_FALSE(client.call("r", {"PING"}).error);
  server.freeze();
  const auto sent = client.send("r", append("r", "sent"));
  const auto late = client.subscribe("late");
  client.run_for(200ms);
  ASSERT_TRUE(client.run_until([&] { return sent->done && late->done; }));
  EXPECT_EQ(sent->error, RedisError::kUnavailable);
  EXPECT_EQ(late->error, RedisError::kUnavailable);
  EXPECT_GE(sent->after_ms, 599);  // whole milliseconds, cut
  EXPECT_LT(sent->after_ms, 900 * test::slowness());
  EXPECT_FALSE(client.client().is_ready());
  // Never connected while it waits, so never sent.
  const auto unsent = client.send("r", append("r", "unsent"));
  ASSERT_TRUE(client.run_until([&] { return unsent->done; }));
  EXPECT_EQ(unsent->error, RedisError::kUnavailable);

  server.thaw();
  ASSERT_TRUE(client.run_until([&] { return client.client().is_ready(); }));
  ASSERT_TRUE(client.run_until([&] { return client.resubscribed["news"] == 1; }));
  const auto list = list_of(client, "r");
  EXPECT_EQ(std::count(list.begin(), list.end(), "unsent"), 0);
  EXPECT_EQ(client.client().usage().subscriptions, 1U);
  EXPECT_EQ(server.call({"PUBLISH", "late", "x"}).integer(), 0);
}

}  // namespace
}  // namespace hubbub::broker::redis
