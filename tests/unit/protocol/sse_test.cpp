#include "hubbub/protocol/sse.hpp"

#include <gtest/gtest.h>

#include <string>

namespace hubbub::protocol {
namespace {

std::string event(std::string_view json) {
  std::string out;
  append_sse_event(out, json);
  return out;
}

TEST(Sse, NamesTheEventByItsType) {
  EXPECT_EQ(event(R"({"type":"typing_start","user_id":"u"})"),
            "event: typing_start\ndata: {\"type\":\"typing_start\",\"user_id\":\"u\"}\n\n");
}

TEST(Sse, CallsWhatNamesNoTypeAMessage) { EXPECT_EQ(event("{}"), "event: message\ndata: {}\n\n"); }

// A line end inside a block would end the field, and what follows would be taken for a field of its own.
TEST(Sse, GivesEachLineOfTheJsonAFieldOfItsOwn) {
  EXPECT_EQ(event("{\"type\":\"message\",\"content\":{\n1:\r\n2\r3}}"),
            "event: message\ndata: {\"type\":\"message\",\"content\":{\ndata: 1:\ndata: 2\ndata: 3}}\n\n");
  EXPECT_EQ(event("{\n\n}\n"), "event: message\ndata: {\ndata: \ndata: }\ndata: \n\n");
}

TEST(Sse, PassesOtherBytesOn) {
  const std::string json = "{\"type\":\"message\",\"content\":\"\xF0\x9F\x98\x80\xE2\x80\xA8: x\"}";
  EXPECT_EQ(event(json), "event: message\ndata: " + json + "\n\n");
}

TEST(Sse, WritesTheCursorAsABlockWithAnIdAndData) {
  std::string out;
  append_sse_cursor(out, "Ab-_1");
  EXPECT_EQ(out, "event: cursor\nid: Ab-_1\ndata: {}\n\n");
}

TEST(Sse, WritesTheRetryTime) {
  std::string out;
  append_sse_retry(out, 2500);
  EXPECT_EQ(out, "retry: 2500\n\n");
}

}  // namespace
}  // namespace hubbub::protocol
