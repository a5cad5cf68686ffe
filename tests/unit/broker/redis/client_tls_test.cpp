#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <stdexcept>
#include <string>

#include "support/certificates.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace hubbub::broker::redis {
namespace {

using test::Certificates;
using test::RedisClient;
using test::RedisServer;

const Certificates& certificates() {
  static const Certificates made;
  return made;
}

RedisServer::Options server_with(const std::string& certificate) {
  const Certificates& made = certificates();
  return {.args = {"--tls-cert-file", made.file(certificate + ".crt"), "--tls-key-file",
                   made.file(certificate + ".key"), "--tls-ca-cert-file", made.file("ca.crt")},
          .tls = true};
}

ClientOptions options_of(const RedisServer& server) {
  ClientOptions options;
  options.endpoints = {server.endpoint()};
  options.tls = true;
  options.tls_ca_file = certificates().file("ca.crt");
  options.tls_cert_file = certificates().file("client.crt");
  options.tls_key_file = certificates().file("client.key");
  return options;
}

TEST(RedisClientTls, SpeaksWithAServerThatWantsToKnowItToo) {
  RedisServer server(server_with("server"));
  for (const std::string host : {"127.0.0.1", "localhost"}) {
    ClientOptions options = options_of(server);
    options.endpoints = {{host, server.port()}};
    RedisClient client(options);
    const auto subscribed = client.subscribe("c");
    ASSERT_TRUE(client.run_until([&] { return subscribed->done; }));
    EXPECT_FALSE(subscribed->error);
    const std::string large(3'000'000, 'x');
    EXPECT_EQ(client.call("r", {"SET", "k", large}).reply.text(), "OK");
    EXPECT_EQ(client.call("r", {"GET", "k"}).reply.text(), large);
    EXPECT_EQ(client.call("r", {"PUBLISH", "c", "hello"}).reply.integer(), 1);
    ASSERT_TRUE(client.run_until([&] { return client.messages.size() == 1; }));
  }
}

TEST(RedisClientTls, SurvivesARestart) {
  RedisServer server(server_with("server"));
  RedisClient client(options_of(server));
  EXPECT_EQ(client.call("r", {"SET", "k", "1"}).reply.text(), "OK");
  server.kill9();
  const auto answer = client.send("r", {"SET", "k", "2"});
  server.restart();
  ASSERT_TRUE(client.run_until([&] { return answer->done; }));
  EXPECT_EQ(answer->reply.text(), "OK");
}

TEST(RedisClientTls, SaysNothingToAServerThatCannotProveItself) {
  RedisServer elsewhere(server_with("elsewhere"));
  ClientOptions options = options_of(elsewhere);
  options.wait_ms = 400;
  RedisClient wrong_name(options);
  EXPECT_EQ(wrong_name.call("r", {"PING"}).error, RedisError::kUnavailable);

  RedisServer server(server_with("server"));
  options = options_of(server);
  options.wait_ms = 400;
  options.tls_ca_file.clear();  // the system's do not know our CA
  RedisClient wrong_ca(options);
  EXPECT_EQ(wrong_ca.call("r", {"PING"}).error, RedisError::kUnavailable);

  options = options_of(server);
  options.wait_ms = 400;
  options.tls_cert_file.clear();
  RedisClient nobody(options);
  EXPECT_EQ(nobody.call("r", {"PING"}).error, RedisError::kUnavailable);
}

TEST(RedisClientTls, FilesThatCannotBeReadStopTheStart) {
  ClientOptions options;
  options.endpoints = {{"127.0.0.1", 1}};
  options.tls = true;
  options.tls_ca_file = "/nonexistent/ca.crt";
  EXPECT_THROW(RedisClient client(options), std::runtime_error);
}

}  // namespace
}  // namespace hubbub::broker::redis
