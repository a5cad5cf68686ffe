#include "hubbub/protocol/cursor.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <variant>

namespace hubbub::protocol {
namespace {

std::string write(const Cursor& cursor, std::string_view user) {
  std::string scratch, out;
  CursorWriter writer(scratch, cursor.session, cursor.key_tag, cursor.answer);
  for (const CursorEntry& entry : cursor.entries) writer.add(entry.room_id, entry.epoch, entry.seq);
  writer.finish(out, user);
  return out;
}

bool is_refused(std::string_view text, std::string_view user) {
  return std::holds_alternative<CursorFault>(parse_cursor(text, user));
}

const Cursor kSample{0x0123456789abcdef,
                     0xfedcba9876543210,
                     {{"", 0xe1, 7}, {"tea", 0xffffffffffffffff, 0}, {"caf\xC3\xA9 / 1", 2, UINT64_MAX}}};

TEST(Cursor, SaysWhatWasWritten) {
  const auto parsed = parse_cursor(write(kSample, "ann"), "ann");
  ASSERT_TRUE(std::holds_alternative<Cursor>(parsed));
  const Cursor& cursor = std::get<Cursor>(parsed);
  EXPECT_EQ(cursor.session, kSample.session);
  EXPECT_EQ(cursor.key_tag, kSample.key_tag);
  ASSERT_EQ(cursor.entries.size(), 3U);
  for (const CursorEntry& entry : kSample.entries) {
    const CursorEntry* found = cursor.find(entry.room_id);
    ASSERT_NE(found, nullptr) << entry.room_id;
    EXPECT_EQ(found->epoch, entry.epoch);
    EXPECT_EQ(found->seq, entry.seq);
  }
  EXPECT_EQ(cursor.find("other"), nullptr);
}

TEST(Cursor, SaysWhichAnswerOfAPollItIsFrom) {
  for (const std::uint64_t session : {std::uint64_t{0}, kSample.session}) {
    for (const std::uint64_t answer : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{300}, UINT64_MAX}) {
      const auto parsed = parse_cursor(write({session, session, {{"tea", 3, 300}}, answer}, "ann"), "ann");
      ASSERT_TRUE(std::holds_alternative<Cursor>(parsed));
      EXPECT_EQ(std::get<Cursor>(parsed).session, session);
      EXPECT_EQ(std::get<Cursor>(parsed).answer, answer);
      EXPECT_EQ(std::get<Cursor>(parsed).entries.size(), 1U);
    }
  }
}

// The document's example: who builds a cursor by docs/protocol.md gets these bytes.
TEST(Cursor, IsWhatTheDocumentSays) {
  EXPECT_EQ(write({0, 0, {{"", 1, 2}, {"tea", 3, 300}}}, "ann"), "ATTTJ5MAAAAAAAAAAAABAgN0ZWEAAAAAAAAAA6wC");
}

TEST(Cursor, IsSafeInAnUrlAndAHeader) {
  const std::string text = write(kSample, "ann");
  EXPECT_EQ(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
            std::string::npos);
}

TEST(Cursor, RefusesAnotherUsers) {
  const std::string text = write(kSample, "ann");
  EXPECT_TRUE(is_refused(text, "bob"));
  EXPECT_TRUE(is_refused(text, ""));
  EXPECT_FALSE(is_refused(text, "ann"));
}

TEST(Cursor, RefusesEveryDamage) {
  const std::string text = write(kSample, "ann");
  for (std::size_t size = 0; size < text.size(); ++size) EXPECT_TRUE(is_refused(text.substr(0, size), "ann")) << size;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'A', 'x', '_', '%', '\0', '\x80'}) {
      std::string other = text;
      other[i] = c;
      if (other == text) continue;
      EXPECT_TRUE(is_refused(other, "ann")) << i << c;
    }
  }
  EXPECT_TRUE(is_refused(text + "A", "ann"));
  EXPECT_TRUE(is_refused(text + "=", "ann"));
}

// With a right check, so that only the content is wrong.
TEST(Cursor, RefusesWhatNoServerWrites) {
  EXPECT_TRUE(is_refused(write({0, 0, {{"tea", 1, 1}, {"tea", 1, 2}}}, "ann"), "ann"));
  EXPECT_TRUE(is_refused(write({0, 0, {{"", 1, 1}, {"", 1, 1}}}, "ann"), "ann"));
  EXPECT_TRUE(is_refused(write({0, 0, {{"a\nb", 1, 1}}}, "ann"), "ann"));
  EXPECT_TRUE(is_refused(write({0, 0, {{std::string(257, 'x'), 1, 1}}}, "ann"), "ann"));
  EXPECT_FALSE(is_refused(write({0, 0, {{std::string(256, 'x'), 1, 1}}}, "ann"), "ann"));
  Cursor many;
  for (std::size_t i = 0; i <= kCursorEntriesMax; ++i) many.entries.push_back({"r" + std::to_string(i), 1, 1});
  EXPECT_TRUE(is_refused(write(many, "ann"), "ann"));
  many.entries.pop_back();
  EXPECT_FALSE(is_refused(write(many, "ann"), "ann"));
}

TEST(Cursor, SurvivesNoise) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 64, 'A');
    for (char& c : text) c = "ABCDEFabcdef0123456789-_"[random() % 24];
    EXPECT_TRUE(is_refused("A" + text, "ann"));
  }
}

}  // namespace
}  // namespace hubbub::protocol
