#include "hubbub/broker/redis/command.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace hubbub::broker::redis {
namespace {

using namespace std::string_literals;

TEST(RedisCommand, IsAnArrayOfBulkStringsWhateverTheBytes) {
  Command command(4);
  command.add("SET").add(std::string_view("a\0\r\n", 4)).add("").add(std::int64_t{-7});
  EXPECT_EQ(command.bytes(), "*4\r\n$3\r\nSET\r\n$4\r\na\0\r\n\r\n$0\r\n\r\n$2\r\n-7\r\n"s);
  Command largest(2);
  largest.add(std::numeric_limits<std::uint64_t>::max()).add(std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(largest.bytes(), "*2\r\n$20\r\n18446744073709551615\r\n$20\r\n-9223372036854775808\r\n");
}

TEST(RedisCommand, NamesAScriptByItsSha1) {
  const Script script = make_script("one", "return 1");
  EXPECT_EQ(script.sha1, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
  const Command command = std::move(Command::eval(script, 1, 1).add("k").add("v"));
  EXPECT_EQ(command.bytes(), "*5\r\n$7\r\nEVALSHA\r\n$40\r\n" + script.sha1 + "\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n");
}

}  // namespace
}  // namespace hubbub::broker::redis
