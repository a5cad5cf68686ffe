#include "hubbub/protocol/utf8.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace hubbub::protocol {
namespace {

// What RFC 3629 says, written the slow way: decode, then look at the number.
bool oracle(std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i++]);
    if (c < 0x80) continue;
    const int more = c >= 0xf0 && c < 0xf8 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc0 && c < 0xe0 ? 1 : 0;
    if (more == 0) return false;
    std::uint32_t value = c & (0x3fU >> more);
    for (int k = 0; k < more; ++k) {
      if (i == s.size() || (static_cast<unsigned char>(s[i]) & 0xc0) != 0x80) return false;
      value = value << 6 | (static_cast<unsigned char>(s[i++]) & 0x3f);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (value < kSmallest[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return false;
  }
  return true;
}

bool incrementally(std::string_view s) {
  Utf8Validator validator;
  for (const char& c : s) {
    if (!validator.feed({&c, 1})) return false;
  }
  return validator.complete();
}

std::string encode(std::uint32_t c) {
  const auto byte = [](std::uint32_t v) { return static_cast<char>(static_cast<unsigned char>(v)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 0x3f))};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f))};
  return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f)), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f))};
}

TEST(Utf8, AcceptsEveryScalarValueAndNoSurrogate) {
  for (std::uint32_t c = 0; c <= 0x110100; ++c) {
    const bool good = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    const std::string text = encode(c);
    ASSERT_EQ(is_valid_utf8(text), good) << std::hex << c;
    ASSERT_EQ(incrementally(text), good) << std::hex << c;
  }
}

TEST(Utf8, AgreesWithTheDefinitionOnEveryPairOfBytesAndEveryLeadOfThree) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string two{static_cast<char>(a), static_cast<char>(b)};
      ASSERT_EQ(is_valid_utf8(two), oracle(two)) << a << ' ' << b;
      ASSERT_EQ(incrementally(two), oracle(two)) << a << ' ' << b;
      for (int c : {0x00, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xff}) {
        const std::string three = two + static_cast<char>(c);
        ASSERT_EQ(is_valid_utf8(three), oracle(three)) << a << ' ' << b << ' ' << c;
        ASSERT_EQ(incrementally(three), oracle(three)) << a << ' ' << b << ' ' << c;
      }
    }
  }
}

TEST(Utf8, FindsOneWrongByteAtAnyPlaceInALongText) {
  for (std::size_t size = 1; size < 80; ++size) {
    std::string text(size, 'a');
    EXPECT_TRUE(is_valid_utf8(text));
    for (std::size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      ASSERT_FALSE(is_valid_utf8(text)) << size << ' ' << at;
      text[at] = 'a';
    }
  }
}

TEST(Utf8, AgreesWithTheDefinitionOnRandomMixturesHoweverTheyAreCut) {
  std::mt19937 random(20261);
  const std::vector<std::string> parts{
      "a",        "abcdefghijklmnop", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80", "\xed\x9f\xbf",
      "\xed\xa0", "\xf4\x8f",         "\x80",     "\xe0\xa0",     "\xf0\x90\x80"};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    const bool only_good = round % 2 == 0;
    for (auto n = random() % 12; n > 0; --n) text += parts[random() % (only_good ? 5 : parts.size())];
    const bool good = oracle(text);
    ASSERT_EQ(is_valid_utf8(text), good);
    Utf8Validator validator;
    bool fed = true;
    for (std::size_t at = 0; at < text.size() && fed;) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % 9, text.size() - at);
      fed = validator.feed(std::string_view(text).substr(at, piece));
      at += piece;
    }
    ASSERT_EQ(fed && validator.complete(), good);
  }
}

TEST(Utf8Validator, RefusesAByteAsSoonAsNoContinuationCouldMendIt) {
  Utf8Validator validator;
  EXPECT_TRUE(validator.feed("\xf4"));
  EXPECT_FALSE(validator.complete());
  EXPECT_FALSE(validator.feed("\x90"));  // above U+10FFFF, whatever follows
  EXPECT_FALSE(validator.feed("a"));
  EXPECT_FALSE(validator.complete());
  validator.reset();
  EXPECT_TRUE(validator.feed("a"));
  EXPECT_TRUE(validator.complete());
}

}  // namespace
}  // namespace hubbub::protocol
