#include "hubbub/security/api_keys.hpp"

#include <gtest/gtest.h>

namespace hubbub::security {
namespace {

TEST(ApiKeys, AcceptsWholeKeysOnly) {
  const ApiKeys keys({"first", "second"});
  EXPECT_FALSE(keys.empty());
  EXPECT_TRUE(keys.accepts("first"));
  EXPECT_TRUE(keys.accepts("second"));
  for (const char* wrong : {"", "firs", "first2", "First", "firstsecond"}) EXPECT_FALSE(keys.accepts(wrong)) << wrong;
}

TEST(ApiKeys, WithoutAKeyNoneIsRight) {
  const ApiKeys keys({});
  EXPECT_TRUE(keys.empty());
  EXPECT_FALSE(keys.accepts(""));
}

}  // namespace
}  // namespace hubbub::security
