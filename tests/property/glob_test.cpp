#include "hubbub/base/glob.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

namespace hubbub::base {
namespace {

// The same words as in the header, tried in every way.
bool fits(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  const char first = pattern.front();
  if (first == '*') return fits(pattern.substr(1), text) || (!text.empty() && fits(pattern, text.substr(1)));
  if (text.empty()) return false;
  if (first == '?') {
    std::size_t size = 1;
    while (size < text.size() && (text[size] & 0xC0) == 0x80) ++size;
    return fits(pattern.substr(1), text.substr(size));
  }
  const bool escaped = first == '\\' && pattern.size() > 1;
  if (escaped) pattern.remove_prefix(1);
  return pattern.front() == text.front() && fits(pattern.substr(1), text.substr(1));
}

class GlobProperty : public testing::TestWithParam<std::string_view> {
 protected:
  std::string made_of(std::string_view pieces, int at_most) {
    std::string out;
    for (int n = std::uniform_int_distribution<int>(0, at_most)(random_); n > 0; --n) {
      out += pieces[std::uniform_int_distribution<std::size_t>(0, pieces.size() - 1)(random_)];
    }
    return out;
  }

  std::mt19937 random_{1};
};

TEST_P(GlobProperty, AgreesWithTheRecursiveOne) {
  const std::string text_bytes(GetParam());
  const std::string pattern_bytes = text_bytes + "**??\\";
  int matches = 0;
  for (int round = 0; round < 300'000; ++round) {
    const std::string pattern = made_of(pattern_bytes, 8), text = made_of(text_bytes, 10);
    const bool matched = glob_matches(pattern, text);
    ASSERT_EQ(matched, fits(pattern, text)) << testing::PrintToString(pattern) << " " << testing::PrintToString(text);
    matches += matched ? 1 : 0;
  }
  EXPECT_GT(matches, 3'000);
}

// Few letters, so that much fits; bytes in and out of order; the signs themselves.
INSTANTIATE_TEST_SUITE_P(Texts, GlobProperty, testing::Values("ab", "a\xc3\xbc", "\xe2\x82\xac\xbc", "a*?\\"));

}  // namespace
}  // namespace hubbub::base
