#include "hubbub/base/glob.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace hubbub::base {
namespace {

TEST(Glob, APatternFitsTheWholeTextOrNotAtAll) {
  EXPECT_TRUE(glob_matches("news", "news"));
  EXPECT_FALSE(glob_matches("news", "news-1"));
  EXPECT_FALSE(glob_matches("news", "old-news"));
  EXPECT_FALSE(glob_matches("news", "News"));
  EXPECT_FALSE(glob_matches("news", "new"));
  EXPECT_TRUE(glob_matches("", ""));
  EXPECT_FALSE(glob_matches("", "x"));
  EXPECT_FALSE(glob_matches("x", ""));
}

TEST(Glob, AStarIsAnyRunEvenNone) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("***", ""));
  EXPECT_TRUE(glob_matches("*", "a/b:c d"));
  EXPECT_TRUE(glob_matches("news-*", "news-"));
  EXPECT_TRUE(glob_matches("*-news", "world-news"));
  EXPECT_FALSE(glob_matches("*-news", "world-news-1"));
  EXPECT_TRUE(glob_matches("a*b*c", "axbbxbc"));
  EXPECT_FALSE(glob_matches("a*b*c", "acb"));
  EXPECT_TRUE(glob_matches("*ab", "aab"));
  EXPECT_TRUE(glob_matches("*aab*", "aaaaab"));
  EXPECT_TRUE(glob_matches("*", std::string_view("\0\xff", 2)));
}

TEST(Glob, AQuestionMarkIsOneCharacterOfAnyLength) {
  EXPECT_TRUE(glob_matches("r?", "r1"));
  EXPECT_FALSE(glob_matches("r?", "r"));
  EXPECT_FALSE(glob_matches("r?", "r12"));
  EXPECT_TRUE(glob_matches("?", "\xc3\xbc"));
  EXPECT_TRUE(glob_matches("?", "\xe2\x82\xac"));
  EXPECT_TRUE(glob_matches("?", "\xf0\x9f\x98\x80"));
  EXPECT_FALSE(glob_matches("??", "\xf0\x9f\x98\x80"));
  EXPECT_TRUE(glob_matches("*?x", "a\xf0\x9f\x98\x80x"));
  EXPECT_TRUE(glob_matches("?", "\xff"));
}

TEST(Glob, ABackslashTakesTheMeaningFromWhatFollows) {
  EXPECT_TRUE(glob_matches("\\*", "*"));
  EXPECT_FALSE(glob_matches("\\*", "x"));
  EXPECT_TRUE(glob_matches("a\\?", "a?"));
  EXPECT_FALSE(glob_matches("a\\?", "ab"));
  EXPECT_TRUE(glob_matches("a\\ b", "a b"));
  EXPECT_TRUE(glob_matches("\\\\", "\\"));
  EXPECT_TRUE(glob_matches("\\a", "a"));
  EXPECT_TRUE(glob_matches("*\\**", "a*b"));
  EXPECT_FALSE(glob_matches("*\\**", "ab"));
  EXPECT_TRUE(glob_matches("a\\", "a\\"));
}

TEST(Glob, NothingElseHasAMeaning) {
  EXPECT_TRUE(glob_matches("[a-z]{1}.$^+", "[a-z]{1}.$^+"));
  EXPECT_FALSE(glob_matches("[a-z]", "b"));
  EXPECT_FALSE(glob_matches(".", "b"));
}

TEST(Glob, ManyStarsTakeNoTimeToSpeakOf) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(glob_matches(pattern + "b", std::string(100'000, 'a')));
  EXPECT_TRUE(glob_matches(pattern, std::string(100'000, 'a')));
}

}  // namespace
}  // namespace hubbub::base
