#include "hubbub/base/compact_vector.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace hubbub::base {
namespace {

struct Pair {
  std::uint64_t id;
  std::uint32_t slot;
  friend bool operator==(const Pair&, const Pair&) = default;
};

std::vector<Pair> all_of(const CompactVector<Pair>& list) { return {list.begin(), list.end()}; }

TEST(CompactVector, HoldsOneElementInside) {
  CompactVector<Pair> list;
  EXPECT_TRUE(list.empty());
  list.push_back({7, 1});
  EXPECT_EQ(list.size(), 1U);
  const auto* at = reinterpret_cast<const char*>(list.data());
  EXPECT_GE(at, reinterpret_cast<const char*>(&list));
  EXPECT_LT(at, reinterpret_cast<const char*>(&list + 1));
  EXPECT_LE(sizeof list, sizeof(Pair) + 8);
}

TEST(CompactVector, KeepsItsElementsWhenItGrows) {
  CompactVector<Pair> list;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    list.push_back({i, i + 1});
    ASSERT_EQ(list.size(), i + 1);
    ASSERT_EQ(list[0], (Pair{0, 1}));
    ASSERT_EQ(list[i], (Pair{i, i + 1}));
  }
}

TEST(CompactVector, TakesAnElementOfItsOwnWhileItGrows) {
  CompactVector<Pair> list;
  list.push_back({7, 1});
  list.push_back(list[0]);
  list.push_back(list[1]);
  EXPECT_EQ(all_of(list), (std::vector<Pair>{{7, 1}, {7, 1}, {7, 1}}));
}

TEST(CompactVector, DoesAsAVectorDoes) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    CompactVector<Pair> list;
    std::vector<Pair> model;
    for (std::uint32_t step = 0; step < 200; ++step) {
      const std::uint32_t what = random() % 4;
      if (what < 2 || model.empty()) {
        list.push_back({step, what});
        model.push_back({step, what});
      } else if (what == 2) {
        list.pop_back();
        model.pop_back();
      } else {
        const std::size_t at = random() % model.size();
        list.erase(list.begin() + at);
        model.erase(model.begin() + static_cast<std::ptrdiff_t>(at));
      }
      ASSERT_EQ(all_of(list), model) << "round " << round << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace hubbub::base
