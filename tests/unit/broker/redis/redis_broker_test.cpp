#include "hubbub/broker/redis/redis_broker.hpp"

#include <gtest/gtest.h>

#include <string>

#include "hubbub/base/clock.hpp"
#include "hubbub/broker/redis/scripts.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

// What only this broker promises; what all do is in tests/contract.
namespace hubbub::broker::redis {
namespace {

struct Sink final : BrokerSink {
  void on_event(const StreamKey&, std::uint64_t, const StoredEvent& event) override { last_seq = event.seq; }
  std::uint64_t last_seq = 0;
};

// Each publish whose event came back after its answer had added to a list that grew as long as there was traffic.
TEST(RedisBroker, LooksAfterAStreamOnceHoweverManyOfItsEventsAreLate) {
  test::RedisServer server;
  ClientOptions options;
  options.endpoints = {server.endpoint()};
  test::RedisClient client(options, scripts().all());
  const base::SystemClock clock;
  Sink sink;
  RedisBroker broker(client.client(), clock, {}, "test.0", sink);
  const StreamKey key{StreamKind::kRoom, base::SharedString("r")};
  bool subscribed = false;
  broker.subscribe(key, [&](const base::Result<Position>& position) { subscribed = position.has_value(); });
  ASSERT_TRUE(client.run_until([&] { return subscribed; }));

  const auto message = [&](std::uint64_t seq) {
    const auto& [channel, payload] = client.messages.at(seq - 1);
    broker.on_message(*stream_of(channel), *parse_channel_message(payload));
  };
  for (std::uint64_t seq = 1; seq <= 20; ++seq) {
    bool answered = false;
    broker.publish(key, {"message", "", "", clock.unix_ms()},
                   [&](const base::Result<Published>& result) { answered = result.has_value(); });
    // The event waits here until the answer is there too.
    ASSERT_TRUE(client.run_until([&] { return client.messages.size() == seq; }));
    client.call("r", {"PING"});
    EXPECT_FALSE(answered);
    message(seq);
    EXPECT_TRUE(answered);
    EXPECT_EQ(sink.last_seq, seq);
    EXPECT_EQ(broker.usage().unsettled, 1U);
  }
  broker.sweep();
  EXPECT_EQ(broker.usage().unsettled, 0U);
}

}  // namespace
}  // namespace hubbub::broker::redis
