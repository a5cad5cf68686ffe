#include "hubbub/base/shared_string.hpp"

#include <gtest/gtest.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace hubbub::base {
namespace {

TEST(SharedString, IsOnePointerAndSharesItsText) {
  static_assert(sizeof(SharedString) == sizeof(void*));
  const SharedString a("hello");
  const SharedString b = a;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_EQ(a.view(), "hello");
  EXPECT_EQ(a.view().data(), b.view().data());
  EXPECT_EQ(a, b);
}

TEST(SharedString, EqualsByTextAndNotByPlace) {
  EXPECT_EQ(SharedString("abc"), SharedString(std::string("abc")));
  EXPECT_NE(SharedString("abc"), SharedString("abd"));
  EXPECT_NE(SharedString("abc"), SharedString("ab"));
  EXPECT_NE(SharedString(std::string_view("a\0b", 3)), SharedString(std::string_view("a\0c", 3)));
  EXPECT_EQ(SharedString(), SharedString(""));
}

TEST(SharedString, TheDefaultIsEmpty) {
  const SharedString none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.view(), "");
  EXPECT_EQ(none.hash(), SharedString::hash_of(""));
}

TEST(SharedString, KeepsTheHashOfItsText) {
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string text(size, 'x');
    EXPECT_EQ(SharedString(text).hash(), SharedString::hash_of(text));
  }
}

TEST(SharedString, HashesOfSimilarTextsDiffer) {
  std::set<std::uint64_t> hashes;
  for (std::size_t size = 0; size < 40; ++size) hashes.insert(SharedString::hash_of(std::string(size, '\0')));
  for (int i = 0; i < 1000; ++i) hashes.insert(SharedString::hash_of("room" + std::to_string(i)));
  EXPECT_EQ(hashes.size(), 1040U);
}

TEST(SharedString, SurvivesTheOneItWasCopiedFrom) {
  SharedString kept;
  {
    SharedString first("a text that is longer than a small string");
    kept = first;
    first = SharedString("other");
    EXPECT_EQ(first.view(), "other");
  }
  EXPECT_EQ(kept.view(), "a text that is longer than a small string");
  SharedString moved = std::move(kept);
  EXPECT_TRUE(kept.empty());  // NOLINT(bugprone-use-after-move): that is promised
  kept = moved;
  SharedString& same = kept;
  kept = same;
  EXPECT_EQ(kept.view(), moved.view());
}

TEST(SharedString, TablesFindItByAView) {
  boost::unordered_flat_map<SharedString, int, SharedStringHash, SharedStringEqual> table;
  for (int i = 0; i < 1000; ++i) table[SharedString("key" + std::to_string(i))] = i;
  for (int i = 0; i < 1000; ++i) {
    const auto it = table.find(std::string_view("key" + std::to_string(i)));
    ASSERT_NE(it, table.end());
    EXPECT_EQ(it->second, i);
  }
  EXPECT_EQ(table.find(std::string_view("none")), table.end());
}

TEST(SharedString, IsCopiedAndReleasedOnManyThreads) {
  std::vector<std::thread> threads;
  {
    const SharedString text("shared between threads");
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([text] {
        for (int n = 0; n < 10'000; ++n) {
          SharedString copy = text;
          ASSERT_EQ(copy.view().size(), 22U);
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace hubbub::base
