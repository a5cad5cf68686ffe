#include "hubbub/broker/redis/reply_reader.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hubbub::broker::redis {
namespace {

std::vector<Reply> read(ReplyReader& reader, std::string_view bytes) {
  std::vector<Reply> replies;
  reader.consume(bytes, [&](Reply&& reply) {
    replies.push_back(std::move(reply));
    return true;
  });
  return replies;
}

TEST(RedisReplyReader, ReadsEveryKind) {
  ReplyReader reader;
  const auto replies =
      read(reader, "+OK\r\n-ERR no\r\n:42\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n*2\r\n$1\r\n7\r\n*1\r\n:-1\r\n");
  ASSERT_EQ(replies.size(), 7U);
  EXPECT_EQ(replies[0].kind(), Reply::Kind::kStatus);
  EXPECT_EQ(replies[0].text(), "OK");
  EXPECT_EQ(replies[1].kind(), Reply::Kind::kError);
  EXPECT_EQ(replies[1].text(), "ERR no");
  EXPECT_EQ(replies[2].integer(), 42);
  EXPECT_EQ(replies[3].text(), "a\r\n");
  EXPECT_TRUE(replies[4].is_nil());
  EXPECT_TRUE(replies[5].is_nil());
  EXPECT_EQ(replies[6].size(), 2U);
  EXPECT_EQ(replies[6][0].number(), 7U);
  EXPECT_EQ(replies[6][1][0].integer(), -1);
}

TEST(RedisReply, GivesNothingWhenAskedForWhatItIsNot) {
  ReplyReader reader;
  const auto replies = read(reader, ":-5\r\n$2\r\n4x\r\n*1\r\n:1\r\n$20\r\n99999999999999999999\r\n");
  ASSERT_EQ(replies.size(), 4U);
  EXPECT_EQ(replies[0].number(), 0U);
  EXPECT_EQ(replies[0].text(), "");
  EXPECT_EQ(replies[0].size(), 0U);
  EXPECT_TRUE(replies[0][0].is_nil());
  EXPECT_EQ(replies[1].integer(), 0);
  EXPECT_EQ(replies[1].number(), 0U);
  EXPECT_EQ(replies[2].integer(), 0);
  EXPECT_TRUE(replies[2][1].is_nil());
  EXPECT_TRUE(replies[2][0][0][9].is_nil());
  EXPECT_EQ(replies[3].number(), 0U);
  EXPECT_EQ(Reply().integer(), 0);
  EXPECT_EQ(Reply()[3].text(), "");
}

TEST(RedisReplyReader, ReadsWhatComesByteByByteAsWhatComesAtOnce) {
  const std::string bytes = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$12\r\nhello\r\nworld\r\n+PONG\r\n";
  ReplyReader reader;
  std::vector<Reply> replies;
  for (const char c : bytes) {
    for (Reply& reply : read(reader, std::string_view(&c, 1))) replies.push_back(std::move(reply));
  }
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ(replies[0][2].text(), "hello\r\nworld");
}

TEST(RedisReplyReader, ManyRepliesOutliveTheReaderThatMadeThem) {
  std::string bytes;
  for (int i = 0; i < 20'000; ++i) bytes += "*2\r\n:" + std::to_string(i) + "\r\n$5\r\nhello\r\n";
  std::vector<Reply> replies;
  {
    ReplyReader reader;
    replies = read(reader, bytes);
  }
  ASSERT_EQ(replies.size(), 20'000U);
  for (std::size_t i = 0; i < replies.size(); ++i) ASSERT_EQ(replies[i][0].number(), i);
}

TEST(RedisReplyReader, RefusesBrokenAndBoundlessReplies) {
  std::string deep;
  for (int i = 0; i < 20; ++i) deep += "*1\r\n";
  std::string wide = "*2\r\n*1000000\r\n";
  for (int i = 0; i < 1'000'000; ++i) wide += ":1\r\n";
  wide += "*1000000\r\n";
  for (const std::string& bytes : {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string("$-2\r\n"),
                                   std::string("*2147483647\r\n"), std::string("*99999999999999999999\r\n"),
                                   std::string("$99999999999999999999\r\n"), std::string(":x\r\n"), deep, wide}) {
    ReplyReader reader;
    EXPECT_FALSE(reader.consume(bytes, [](Reply&&) { return true; })) << bytes.substr(0, 40);
    EXPECT_NE(reader.problem(), "");
  }
}

TEST(RedisReplyReader, RefusesAReplyThatGrowsPastItsBound) {
  ReplyReader reader;
  const auto nothing = [](Reply&&) { return true; };
  ASSERT_TRUE(reader.consume("$2000000000\r\n", nothing));
  const std::string megabyte(1024 * 1024, 'x');
  std::size_t fed = 0;
  while (reader.consume(megabyte, nothing)) {
    fed += megabyte.size();
    ASSERT_LE(fed, ReplyReader::kReplyBytesMax);
  }
  EXPECT_GE(fed + megabyte.size(), ReplyReader::kReplyBytesMax);
}

}  // namespace
}  // namespace hubbub::broker::redis
