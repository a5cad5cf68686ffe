#include "hubbub/protocol/identifier.hpp"

#include <gtest/gtest.h>

#include <string>

namespace hubbub::protocol {
namespace {

TEST(Identifier, TakesAnythingThatIsTextOfOneTo256Bytes) {
  for (const std::string text :
       {"a", "user:1", "room 7", "a/b?c#d", "+", "\"\\", "\xC3\xBC", "\xF0\x9F\x98\x80", "\xC2\xA0"})
    EXPECT_TRUE(is_valid_identifier(text)) << text;
  EXPECT_TRUE(is_valid_identifier(std::string(256, 'x')));
  EXPECT_FALSE(is_valid_identifier(""));
  EXPECT_FALSE(is_valid_identifier(std::string(257, 'x')));
}

TEST(Identifier, RefusesControlCharacters) {
  for (int c = 0; c < 0x20; ++c) EXPECT_FALSE(is_valid_identifier("a" + std::string(1, static_cast<char>(c)))) << c;
  EXPECT_FALSE(is_valid_identifier("a\x7F"));
  for (int c = 0x80; c < 0xA0; ++c)
    EXPECT_FALSE(is_valid_identifier("\xC2" + std::string(1, static_cast<char>(c)))) << c;
}

TEST(Identifier, RefusesWhatIsNotUtf8) {
  for (const std::string text : {"\x80", "\xC3", "\xC2", "a\xFF", "\xED\xA0\x80", "\xC0\xAF", "\xF4\x90\x80\x80"})
    EXPECT_FALSE(is_valid_identifier(text)) << text;
}

}  // namespace
}  // namespace hubbub::protocol
