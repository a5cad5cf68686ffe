#include "hubbub/base/function.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hubbub::base {
namespace {

int twice(int value) { return 2 * value; }

TEST(InlineFunction, IsEmptyUntilItHoldsACallable) {
  InlineFunction<int(int)> function;
  EXPECT_FALSE(function);
  function = [](int value) { return value + 1; };
  ASSERT_TRUE(function);
  EXPECT_EQ(function(1), 2);
  function = &twice;
  EXPECT_EQ(function(4), 8);
}

TEST(InlineFunction, KeepsStateBetweenCalls) {
  InlineFunction<int()> counter = [n = 0]() mutable { return ++n; };
  EXPECT_EQ(counter(), 1);
  EXPECT_EQ(counter(), 2);
  InlineFunction<int()> moved = std::move(counter);
  EXPECT_EQ(moved(), 3);
}

TEST(InlineFunction, PassesMoveOnlyArgumentsAndReferences) {
  InlineFunction<std::unique_ptr<int>(std::unique_ptr<int>, int&)> function = [](std::unique_ptr<int> p, int& out) {
    out = *p;
    return p;
  };
  int out = 0;
  EXPECT_EQ(*function(std::make_unique<int>(7), out), 7);
  EXPECT_EQ(out, 7);
}

TEST(InlineFunction, DestroysWhatItCapturedExactlyOnce) {
  auto alive = std::make_shared<int>(1);
  {
    InlineFunction<void()> first = [alive] {};
    EXPECT_EQ(alive.use_count(), 2);
    InlineFunction<void()> second = std::move(first);
    EXPECT_FALSE(first);
    EXPECT_EQ(alive.use_count(), 2);
    InlineFunction<void()> third = [alive] {};
    EXPECT_EQ(alive.use_count(), 3);
    third = std::move(second);
    EXPECT_EQ(alive.use_count(), 2);
    InlineFunction<void()>& same = third;
    third = std::move(same);
    EXPECT_TRUE(third);
    EXPECT_EQ(alive.use_count(), 2);
    third = {};
    EXPECT_EQ(alive.use_count(), 1);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(InlineFunction, HoldsAsMuchAsItsCapacity) {
  std::array<char, 64> full{};
  full.back() = 'z';
  InlineFunction<char(), 64> function = [full] { return full.back(); };
  EXPECT_EQ(function(), 'z');
}

TEST(InlineFunction, LivesInAGrowingVector) {
  std::vector<InlineFunction<std::string()>> functions;
  for (int i = 0; i < 100; ++i) {
    functions.emplace_back([text = std::make_unique<std::string>("text " + std::to_string(i))] { return *text; });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(functions[static_cast<std::size_t>(i)](), "text " + std::to_string(i));
}

}  // namespace
}  // namespace hubbub::base
