#include "hubbub/hub/user_counts.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

namespace hubbub::hub {
namespace {

base::SharedString user(unsigned n) { return base::SharedString("user" + std::to_string(n)); }

TEST(UserCounts, TellsFirstAndLastSessionOfAUser) {
  UserCounts counts;
  EXPECT_TRUE(counts.add(user(1)));
  EXPECT_FALSE(counts.add(user(1)));
  EXPECT_TRUE(counts.add(user(2)));
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_FALSE(counts.remove(user(1)));
  EXPECT_TRUE(counts.contains(user(1)));
  EXPECT_TRUE(counts.remove(user(1)));
  EXPECT_FALSE(counts.contains(user(1)));
  EXPECT_FALSE(counts.remove(user(1)));
  EXPECT_FALSE(counts.remove(user(3)));
  EXPECT_EQ(counts.size(), 1U);
}

// It is a list at first and an index later, and shrinks again: it must be the same set of users all the while.
TEST(UserCounts, AgreesWithAMapWhateverItsSize) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const unsigned users = 1 + random() % 60;
    UserCounts counts;
    std::map<std::string, int> model;
    for (int step = 0; step < 3000; ++step) {
      const base::SharedString id = user(random() % users);
      const std::string name(id.view());
      // It grows for a while, then shrinks to nothing, and so on.
      if (random() % 10 < ((step / 500) % 2 == 0 ? 7 : 2)) {
        ASSERT_EQ(counts.add(id), ++model[name] == 1);
      } else if (model.contains(name)) {
        const bool last = --model[name] == 0;
        if (last) model.erase(name);
        ASSERT_EQ(counts.remove(id), last);
      } else {
        ASSERT_FALSE(counts.remove(id));
      }
      ASSERT_EQ(counts.size(), model.size());
      ASSERT_EQ(counts.contains(id), model.contains(name));
      if (step % 100 != 0) continue;
      std::set<std::string> all;
      counts.for_some(1000, [&](const base::SharedString& each) { EXPECT_TRUE(all.emplace(each.view()).second); });
      EXPECT_EQ(all.size(), model.size());
      for (const std::string& each : all) EXPECT_TRUE(model.contains(each));
      for (const std::size_t max : {0, 1, 3}) {
        std::size_t some = 0;
        counts.for_some(max, [&](const base::SharedString&) { ++some; });
        EXPECT_EQ(some, std::min(max, model.size()));
      }
    }
  }
}

}  // namespace
}  // namespace hubbub::hub
