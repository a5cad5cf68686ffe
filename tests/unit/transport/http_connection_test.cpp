#include "hubbub/transport/http_connection.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/transport_fixture.hpp"

namespace hubbub::transport {
namespace {

using test::Response;
using test::Socket;
using test::TransportFixture;

constexpr const char* kRequest = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server with a path whose answer comes when the test gives it.
struct LaterFixture : testing::Test {
  LaterFixture() {
    world.context.router.add(
        {"GET", "/later", [this](HttpConnection& connection, const HttpRequest&) { deferred = connection.defer(); }});
  }
  void stop() {
    world.context.stopping = true;
    world.transports[0]->begin_stop();
    world.settle();
  }
  bool answered() {
    socket.read();
    return test::take_response(socket.bytes(), response);
  }

  TransportFixture world;
  DeferredAnswer deferred;
  Socket socket{world.connect(0)};
  Response response;
};
using HttpConnectionStop = LaterFixture;

TEST_F(HttpConnectionStop, WaitsForAnAnswerThatComes) {
  socket.send(kRequest);
  world.settle();
  stop();
  world.advance_ms(world.context.options.close_timeout_ms / 4);
  EXPECT_FALSE(answered());
  world.transports[0]->answer(deferred.id, {.body = "done"});
  world.settle();
  ASSERT_TRUE(answered());
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.head.find("Connection: close"), std::string::npos);
}

TEST_F(HttpConnectionStop, IsNotHeldUpByAnAnswerThatDoesNotCome) {
  socket.send(kRequest);
  world.settle();
  stop();
  world.advance_ms(world.context.options.close_timeout_ms / 2 + 100);
  ASSERT_TRUE(answered());
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(response.body.find("overloaded"), std::string::npos);
  world.transports[0]->answer(deferred.id, {.body = "late"});  // nobody's any more
  socket.read();
  EXPECT_TRUE(socket.at_end());
  EXPECT_EQ(socket.bytes(), "");
  socket.close();
  world.settle();
  EXPECT_EQ(world.transports[0]->connection_count(), 0U);
}

}  // namespace
}  // namespace hubbub::transport
