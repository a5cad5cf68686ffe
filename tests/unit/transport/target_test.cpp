#include "hubbub/transport/target.hpp"

#include <gtest/gtest.h>

namespace hubbub::transport {
namespace {

TEST(Tokens, AreFoundInAListWholeAndByCaseOnlyWhereTheyAreEchoed) {
  for (const auto* header : {"upgrade", "keep-alive, Upgrade", "a,\tUPGRADE ,b", ",upgrade"}) {
    EXPECT_TRUE(has_token(header, "upgrade")) << header;
  }
  for (const auto* header : {"", ",", "upgrades", "up grade", "upgrade;x", "\"upgrade\""}) {
    EXPECT_FALSE(has_token(header, "upgrade")) << header;
  }
  EXPECT_TRUE(has_exact_token("other, hubbub.v1", "hubbub.v1"));
  EXPECT_FALSE(has_exact_token("Hubbub.v1", "hubbub.v1"));
}

}  // namespace
}  // namespace hubbub::transport
