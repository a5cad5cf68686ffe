#include "hubbub/base/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace hubbub::base {
namespace {

TEST(Random, DrawsDifferentNumbers) {
  std::set<std::uint64_t> drawn;
  for (int i = 0; i < 1000; ++i) drawn.insert(random_u64());
  EXPECT_EQ(drawn.size(), 1000U);
}

TEST(Random, FillsTheWholeSpan) {
  // The kernel gives 256 bytes at once and may give less than was asked beyond that.
  std::vector<unsigned char> bytes(100'000);
  random_bytes(bytes);
  std::array<int, 256> seen{};
  for (const unsigned char byte : bytes) ++seen[byte];
  for (const int count : seen) EXPECT_GT(count, 200);
  random_bytes({});
}

TEST(Random, HexIsLowerCaseAndKeepsLeadingZeros) {
  const std::array<unsigned char, 4> bytes{0x00, 0x0a, 0xf0, 0xff};
  EXPECT_EQ(to_hex(bytes), "000af0ff");
  EXPECT_EQ(to_hex(std::uint64_t{0}), "0000000000000000");
  EXPECT_EQ(to_hex(std::uint64_t{0x0123456789abcdef}), "0123456789abcdef");
}

}  // namespace
}  // namespace hubbub::base
