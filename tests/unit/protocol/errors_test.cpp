#include "hubbub/protocol/errors.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace hubbub::protocol {
namespace {

TEST(Errors, EveryCodeHasAUniqueNameAndAText) {
  std::set<std::string_view> names;
  for (const auto& row : kErrors) {
    EXPECT_TRUE(names.insert(row.code).second) << row.code;
    EXPECT_EQ(row.code.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos) << row.code;
    EXPECT_FALSE(row.text.empty()) << row.code;
    EXPECT_TRUE(row.http_status == 0 || (row.http_status >= 400 && row.http_status < 600)) << row.code;
    EXPECT_EQ(&error_info(row.value), &row);
  }
}

TEST(Errors, EveryCloseCodeMayBeSentAndItsReasonFitsAControlFrame) {
  std::set<uint16_t> numbers;
  for (const auto& row : kCloses) {
    const auto number = static_cast<uint16_t>(row.value);
    EXPECT_TRUE(numbers.insert(number).second) << number;
    EXPECT_TRUE((number >= 1000 && number <= 1014 && number != 1004 && number != 1005 && number != 1006) ||
                (number >= 4000 && number <= 4999))
        << number;
    EXPECT_LE(row.name.size(), 123u) << "a control frame holds 125 bytes, two of them the code";
    EXPECT_FALSE(row.when.empty());
    EXPECT_EQ(&close_info(row.value), &row);
  }
}

TEST(Errors, ClientsComeBackOnlyWhereItCanHelp) {
  EXPECT_TRUE(close_info(CloseCode::kGoingAway).reconnect);
  EXPECT_TRUE(close_info(CloseCode::kSlowConsumer).reconnect);
  EXPECT_TRUE(close_info(CloseCode::kHeartbeatTimeout).reconnect);
  EXPECT_FALSE(close_info(CloseCode::kReplaced).reconnect) << "two clients would throw each other out for ever";
  EXPECT_FALSE(close_info(CloseCode::kDisconnected).reconnect);
  EXPECT_FALSE(close_info(CloseCode::kProtocolError).reconnect);
}

}  // namespace
}  // namespace hubbub::protocol
