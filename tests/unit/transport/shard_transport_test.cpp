#include "hubbub/transport/shard_transport.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/hub_fixture.hpp"

namespace hubbub::transport {
namespace {

TEST(ShardTransport, ClosesWhatTheListenerHandsOverWhenTheServerIsStopping) {
  test::HubFixture hub;
  TransportContext context{hub.manager, {}};
  ShardTransport transport(context, hub.pool[0]);
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
  // As the listener does.
  ASSERT_TRUE(context.addresses.try_add(7, 1));
  hub.pool[0].connection_count().fetch_add(1);
  context.stopping = true;
  hub.pool[0].post([&] { transport.accept(ends[0], 7); });
  hub.turn(0);

  char byte;
  EXPECT_EQ(::recv(ends[1], &byte, 1, 0), 0) << "the socket is open";
  ::close(ends[1]);
  EXPECT_EQ(transport.connection_count(), 0U);
  EXPECT_EQ(hub.pool[0].connection_count().load(), 0U);
  EXPECT_TRUE(context.addresses.try_add(7, 1)) << "the address still counts it";
}

}  // namespace
}  // namespace hubbub::transport
