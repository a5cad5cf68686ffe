#include "hubbub/api/idempotency.hpp"

#include <gtest/gtest.h>

namespace hubbub::api {
namespace {

TEST(IdempotencyTable, KeepsAnAnswerForItsWindow) {
  IdempotencyTable table(10'000, 1'000);
  EXPECT_EQ(table.find("k", 0), nullptr);
  IdempotencyTable::Entry& entry = table.begin("k");
  EXPECT_EQ(table.find("k", 5'000), &entry);  // as long as it is under way
  EXPECT_FALSE(entry.done);
  table.finish(entry, {.status = 200, .body = "a"}, 5'000);
  ASSERT_NE(table.find("k", 5'999), nullptr);
  EXPECT_EQ(table.find("k", 5'999)->response.body, "a");
  EXPECT_EQ(table.find("k", 6'000), nullptr);
  EXPECT_EQ(table.bytes(), 0U);
}

TEST(IdempotencyTable, ForgetsWhatAnotherTryMayGetOver) {
  IdempotencyTable table(10'000, 1'000);
  table.finish(table.begin("k"), {.status = 503}, 0);
  EXPECT_EQ(table.find("k", 0), nullptr);
  table.finish(table.begin("k"), {.status = 400}, 0);
  EXPECT_NE(table.find("k", 0), nullptr);
}

TEST(IdempotencyTable, ForgetsTheOldestPastItsBytesButNothingUnderWay) {
  IdempotencyTable table(4'000, 1'000);
  IdempotencyTable::Entry& running = table.begin("running");
  for (int i = 0; i < 100; ++i) table.finish(table.begin("k" + std::to_string(i)), {.status = 200, .body = "a"}, i);
  EXPECT_LE(table.bytes(), 4'000U);
  EXPECT_EQ(table.find("k0", 100), nullptr);
  EXPECT_NE(table.find("k99", 100), nullptr);
  EXPECT_EQ(table.find("running", 100), &running);
}

TEST(IdempotencyTable, AnAnswerThatIsTooLargeIsNotKept) {
  IdempotencyTable table(4'000, 1'000);
  table.finish(table.begin("k"), {.status = 200, .body = std::string(5'000, 'x')}, 0);
  EXPECT_EQ(table.find("k", 0), nullptr);
  EXPECT_EQ(table.bytes(), 0U);
}

}  // namespace
}  // namespace hubbub::api
