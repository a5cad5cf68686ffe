#include "hubbub/protocol/ws_deflate.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>

namespace hubbub::protocol {
namespace {

using Result = Inflater::Result;

std::string random_bytes(std::mt19937& random, std::size_t size) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

Result inflate(std::string_view in, std::string& out, std::size_t max_bytes = 1 << 20) {
  static Inflater inflater;
  out.clear();
  return inflater.inflate(in, out, max_bytes);
}

void expect_inflates_to(std::string_view in, std::string_view expected) {
  std::string out;
  ASSERT_EQ(inflate(in, out), Result::kOk);
  EXPECT_EQ(out, expected);
}

// Blocks of several kinds in one message, as zlib makes them when its level and strategy change on the way.
std::string deflate_with(std::string_view in, int level, int strategy, int flush) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, -15, 8, strategy), Z_OK);
  std::string out(in.size() * 2 + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, flush);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

TEST(WsDeflate, WritesTheExampleOfTheRfc) {
  Deflater deflater(6);
  std::string out = "x";
  deflater.deflate("Hello", out);
  EXPECT_EQ(out, std::string("x\xf2\x48\xcd\xc9\xc9\x07\x00", 8));
}

TEST(WsDeflate, WritesAnEmptyMessageAsOneZeroByte) {
  Deflater deflater(1);
  std::string out;
  deflater.deflate("", out);
  EXPECT_EQ(out, std::string(1, '\0'));
}

TEST(WsDeflate, ForgetsTheMessageBefore) {
  Deflater deflater(6);
  std::string first, second;
  deflater.deflate("Hello", first);
  deflater.deflate("Hello", second);
  EXPECT_EQ(first, second);
  std::string out;
  EXPECT_EQ(inflate(std::string("\xf2\x00\x11\x00\x00", 5), out), Result::kCorrupt);  // the RFC's reference to the past
}

TEST(WsDeflate, RoundTripsAnySizeAtAnyLevel) {
  std::mt19937 random(7);
  for (int level : {1, 6, 9}) {
    Deflater deflater(level);
    for (std::size_t size : {0, 1, 5, 125, 16383, 16384, 16385, 32768, 65535, 65536, 300000}) {
      std::string text;
      while (text.size() < size) text += "{\"n\":" + std::to_string(random() % 1000) + "}";
      text.resize(size);
      for (const std::string& in : {text, random_bytes(random, size), std::string(size, 'a')}) {
        std::string packed;
        deflater.deflate(in, packed);
        expect_inflates_to(packed, in);
      }
    }
  }
}

TEST(WsDeflate, InflatesTheExamplesOfTheRfc) {
  expect_inflates_to(std::string_view("\xf2\x48\xcd\xc9\xc9\x07\x00", 7), "Hello");
  expect_inflates_to(std::string_view("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11), "Hello");  // stored block
  expect_inflates_to(std::string_view("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8), "Hello");               // BFINAL
  expect_inflates_to(std::string_view("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13), "Hello");  // two
  expect_inflates_to(std::string_view("\0", 1), "");
}

TEST(WsDeflate, GoesOnAfterAFinalBlockAndForgivesItsMissingPadding) {
  const std::string final_hello("\xf3\x48\xcd\xc9\xc9\x07\x00", 7);
  expect_inflates_to(final_hello, "Hello");
  expect_inflates_to(final_hello + final_hello, "HelloHello");
  expect_inflates_to(final_hello + std::string("\xf2\x48\xcd\xc9\xc9\x07\x00", 7), "HelloHello");
  expect_inflates_to("", "");
}

TEST(WsDeflate, InflatesEveryKindOfBlock) {
  std::mt19937 random(11);
  std::string text;
  while (text.size() < 200000) text += "word" + std::to_string(random() % 500) + " ";
  for (int strategy : {Z_DEFAULT_STRATEGY, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED}) {
    for (int level : {0, 1, 9}) {
      std::string packed = deflate_with(text, level, strategy, Z_SYNC_FLUSH);
      ASSERT_TRUE(packed.ends_with(std::string_view("\0\0\xff\xff", 4)));
      packed.resize(packed.size() - 4);
      expect_inflates_to(packed, text);
      expect_inflates_to(deflate_with(text, level, strategy, Z_FINISH) + '\0', text);
    }
  }
}

TEST(WsDeflate, TakesAMessageOfExactlyTheLimitAndNoByteMore) {
  Deflater deflater(1);
  for (std::size_t size : {1, 100, 16384, 50000}) {
    for (const bool final : {false, true}) {
      const std::string text(size, 'a');
      std::string packed, out;
      if (final) {
        packed = deflate_with(text, 6, Z_DEFAULT_STRATEGY, Z_FINISH);
      } else {
        deflater.deflate(text, packed);
      }
      EXPECT_EQ(inflate(packed, out, size), Result::kOk);
      EXPECT_EQ(out, text);
      EXPECT_EQ(inflate(packed, out, size - 1), Result::kTooLarge);
    }
  }
}

TEST(WsDeflate, StopsABombAtTheLimit) {
  Deflater deflater(9);
  std::string bomb, out;
  deflater.deflate(std::string(64 << 20, '\0'), bomb);
  EXPECT_LT(bomb.size(), 100000U);
  EXPECT_EQ(inflate(bomb, out, 65536), Result::kTooLarge);
  EXPECT_LE(out.capacity(), 2 * 65536U + 64);
}

TEST(WsDeflate, TellsCorruptDataAndIsAsNewForTheNextMessage) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < 3000) text += std::to_string(random()) + "abc";
  Deflater deflater(6);
  std::string packed, out;
  deflater.deflate(text, packed);
  // Here zlib alone takes every fifteenth cut for whole: the tail reads as the end of the block.
  for (std::size_t size = 1; size < packed.size(); ++size) {
    ASSERT_EQ(inflate(packed.substr(0, size), out), Result::kCorrupt) << size;
  }
  EXPECT_EQ(inflate("\xff\xff\xff", out), Result::kCorrupt);
  EXPECT_EQ(inflate(packed + "\x07", out), Result::kCorrupt);
  expect_inflates_to(packed, text);
}

TEST(WsDeflate, LendsAnEmptyScratchThatDoesNotKeepAHugeMessage) {
  Inflater inflater;
  inflater.scratch().assign(1 << 20, 'x');
  EXPECT_TRUE(inflater.scratch().empty());
  EXPECT_LT(inflater.scratch().capacity(), 1U << 20);
  inflater.scratch().assign(1000, 'x');
  EXPECT_TRUE(inflater.scratch().empty());
  EXPECT_GE(inflater.scratch().capacity(), 1000U);
}

}  // namespace
}  // namespace hubbub::protocol
