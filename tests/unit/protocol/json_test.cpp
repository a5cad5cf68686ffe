#include "hubbub/protocol/json.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace hubbub::protocol {
namespace {

using Json = nlohmann::json;

/// The deepest nesting of a text that is known to be valid.
size_t depth_of(std::string_view valid) {
  size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < valid.size(); ++i) {
    const char c = valid[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

/// nlohmann takes a byte order mark for whitespace and a NUL byte for the end; RFC 8259 does not.
bool oracle(std::string_view text) {
  if (text.find('\0') != std::string_view::npos || text.starts_with("\xEF\xBB\xBF")) return false;
  return Json::accept(text) && depth_of(text) <= kJsonDepthMax;
}

bool is_object(std::string_view text) {
  return scan_object(text, [](const JsonMember&) {});
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

Json random_value(std::mt19937_64& random, int depth) {
  static const std::vector<std::string> kTexts = {"",
                                                  "a",
                                                  "type",
                                                  "q\"b\\s/",
                                                  "tab\t nl\n",
                                                  "\x01\x1f\x7f",
                                                  "Gr\xC3\xBC\xC3\x9F",
                                                  "\xF0\x9F\x98\x80 and some more text",
                                                  "\xE2\x80\xA8",
                                                  "eight888",
                                                  "exactly sixteen!"};
  switch (random() % (depth > 4 ? 6 : 8)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random());
    case 3:
      return random() % 1000;
    case 4:
      return static_cast<double>(static_cast<int64_t>(random())) / 1e7;
    case 5:
      return kTexts[random() % kTexts.size()];
    case 6: {
      Json array = Json::array();
      for (auto n = random() % 4; n > 0; --n) array.push_back(random_value(random, depth + 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (auto n = random() % 4; n > 0; --n)
        object[kTexts[random() % kTexts.size()]] = random_value(random, depth + 1);
      return object;
    }
  }
}

TEST(Json, AcceptsWhatTheRfcAllows) {
  for (const std::string text : {"0",
                                 "-0",
                                 "1.5e-10",
                                 "1E+2",
                                 "123456789012345678901234567890",
                                 "\"\"",
                                 "true",
                                 "false",
                                 "null",
                                 "[]",
                                 "{}",
                                 " [ 1 , 2 ] ",
                                 "{\"a\":{\"b\":[1,{\"c\":null}]}}",
                                 "\t\r\n{ \"a\" : 1 }\n",
                                 R"("\"\\\/\b\f\n\r\tA")",
                                 R"("\uD83D\uDE00")",
                                 R"("\u0000")",
                                 "\"\x7F\"",
                                 "\"\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\"",
                                 "1.7976931348623157e308",
                                 "1e-999",
                                 "0e99999999999999999999",
                                 "0.0000001e310",
                                 "[[],{},[{}]]"})
    EXPECT_TRUE(is_valid_json(text)) << text;
}

TEST(Json, RefusesWhatTheRfcForbids) {
  for (const std::string text : {"",
                                 " ",
                                 "01",
                                 "-",
                                 "+1",
                                 "1.",
                                 ".5",
                                 "1e",
                                 "1e+",
                                 "0x10",
                                 "NaN",
                                 "Infinity",
                                 "tru",
                                 "nul",
                                 "True",
                                 "'a'",
                                 "\"",
                                 "\"a",
                                 "\"\\\"",
                                 "\"\\",
                                 "\"\\x41\"",
                                 "\"\\u12\"",
                                 "\"\\u12G4\"",
                                 "\"\n\"",
                                 "\"\x01\"",
                                 "[1,]",
                                 "[,1]",
                                 "[1 2]",
                                 "[",
                                 "]",
                                 "{",
                                 "}",
                                 "{a:1}",
                                 "{\"a\"}",
                                 "{\"a\":}",
                                 "{\"a\":1,}",
                                 "{,}",
                                 "{\"a\":1 \"b\":2}",
                                 "[1}",
                                 "{\"a\":[}]",
                                 "1 2",
                                 "{}{}",
                                 "{} x",
                                 "/**/{}",
                                 "[1]]",
                                 "\xEF\xBB\xBF{}",
                                 "{\"a\":1\v}",
                                 "\"a\"b"})
    EXPECT_FALSE(is_valid_json(text)) << text;
  EXPECT_FALSE(is_valid_json(std::string_view("{}\0", 3)));
  EXPECT_FALSE(is_valid_json(std::string_view("\"\0\"", 3)));
}

TEST(Json, RefusesLoneSurrogateEscapes) {
  for (const std::string text : {R"("\uD83D")", R"("\uDE00")", R"("\uD83Dx")", R"("\uD83D\n")", R"("\uD83DA")",
                                 R"("\uD83D\uD83D")", R"("\uDE00\uD83D")", R"("\uD83D\uDE0")"})
    EXPECT_FALSE(is_valid_json(text)) << text;
}

TEST(Json, RefusesStringsThatAreNotUtf8) {
  for (const std::string text : {"\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                 "long ascii first \xE2\x82", "\xE2\x82\\u0041", "\x80 and then a lot of ascii"}) {
    EXPECT_FALSE(is_valid_json('"' + text + '"')) << text;
    EXPECT_FALSE(is_valid_json("{\"" + text + "\":1}")) << text;
  }
}

TEST(Json, RefusesNumbersThatNoDoubleHoldsAsSomeReceiversCannotReadThem) {
  const std::string digits_308(308, '9'), digits_309(309, '9');
  EXPECT_TRUE(is_valid_json(digits_308));
  EXPECT_FALSE(is_valid_json(digits_309));
  EXPECT_TRUE(is_valid_json("1" + std::string(308, '0')));
  EXPECT_FALSE(is_valid_json("[-1" + std::string(309, '0') + "]"));
  for (const std::string text : {"1e309", "-1e309", "1.8e308", "0.1e310", "1e99999999999999999999", "1000e306"})
    EXPECT_FALSE(is_valid_json(text)) << text;
  for (const std::string text : {"1e308", "1.7e308", "0.1e309", "0.001e311", "1000e305", "1e-99999999999999999999"})
    EXPECT_TRUE(is_valid_json(text)) << text;
  EXPECT_TRUE(is_valid_json("0." + std::string(5000, '0') + "1e5000"));
  EXPECT_FALSE(is_valid_json("0." + std::string(5000, '0') + "1e6000"));
}

TEST(Json, AllowsSixtyFourOpenContainersAndNoMore) {
  EXPECT_TRUE(is_valid_json(nested(64)));
  EXPECT_FALSE(is_valid_json(nested(65)));
  EXPECT_FALSE(is_valid_json(std::string(1'000'000, '[')));
  EXPECT_TRUE(is_object("{\"a\":" + nested(63) + "}"));
  EXPECT_FALSE(is_object("{\"a\":" + nested(64) + "}"));
  std::string mixed = "1";
  for (int i = 0; i < 32; ++i) mixed = "{\"k\":[" + mixed + "]}";
  EXPECT_TRUE(is_valid_json(mixed));
  EXPECT_FALSE(is_valid_json("[" + mixed + "]"));
}

TEST(Json, VisitsTopLevelMembersAsTheyAreWritten) {
  std::vector<JsonMember> members;
  const std::string text =
      " { \"a\" : 1.50 ,\"b\":\"x\\ny\",\"\\u0063\":{ \"a\" : [ ] }, \"d\":null,\"e\":false, \"a\":[1,2] } ";
  ASSERT_TRUE(scan_object(text, [&](const JsonMember& member) { members.push_back(member); }));
  ASSERT_EQ(members.size(), 6u);
  EXPECT_EQ(members[0].key, "a");
  EXPECT_EQ(members[0].value.raw, "1.50");
  EXPECT_EQ(members[0].value.kind, JsonKind::kNumber);
  EXPECT_EQ(members[1].value.raw, "\"x\\ny\"");
  EXPECT_TRUE(members[1].value.escaped);
  EXPECT_EQ(members[2].key, "\\u0063");
  EXPECT_TRUE(members[2].key_escaped);
  EXPECT_FALSE(members[1].key_escaped);
  EXPECT_EQ(members[2].value.raw, "{ \"a\" : [ ] }");
  EXPECT_EQ(members[2].value.kind, JsonKind::kObject);
  EXPECT_EQ(members[3].value.kind, JsonKind::kNull);
  EXPECT_EQ(members[4].value.kind, JsonKind::kBool);
  EXPECT_EQ(members[5].key, "a");
  EXPECT_EQ(members[5].value.kind, JsonKind::kArray);
}

TEST(Json, VisitsNothingOfWhatIsNoObject) {
  for (const std::string text : {"[]", "1", "\"{}\"", "", "null", "{"}) {
    EXPECT_FALSE(scan_object(text, [](const JsonMember&) { FAIL(); })) << text;
  }
}

TEST(Json, ShowsMembersBeforeAnErrorAndStaysFailed) {
  JsonScanner scanner("{\"id\":7,\"x\":}");
  JsonMember member;
  ASSERT_TRUE(scanner.next_member(member));
  EXPECT_EQ(member.value.raw, "7");
  EXPECT_FALSE(scanner.next_member(member));
  EXPECT_FALSE(scanner.next_member(member));
  EXPECT_FALSE(scanner.ok());
}

TEST(Json, WalksArraysUntilTheVisitorHasEnough) {
  std::string seen;
  EXPECT_TRUE(scan_array(" [1, \"a\" ,[2,3]] ", [&](const JsonValue& value) {
    seen.append(value.raw) += '|';
    return true;
  }));
  EXPECT_EQ(seen, "1|\"a\"|[2,3]|");
  int count = 0;
  EXPECT_FALSE(scan_array("[1,2,3]", [&](const JsonValue&) { return ++count < 2; }));
  EXPECT_EQ(count, 2);
  EXPECT_TRUE(scan_array("[]", [](const JsonValue&) { return true; }));
  EXPECT_FALSE(scan_array("[1,]", [](const JsonValue&) { return true; }));
}

TEST(Json, AgreesWithAnotherParserOnRandomAndDamagedTexts) {
  std::mt19937_64 random(20261124);
  static constexpr std::string_view kAlphabet = "{}[]\",:\\u0019eE+-.tfn \nDd8aA\x80\xC3\xBC\xED\xA0\xF0\x9F\x01\x7F";
  size_t good = 0, bad = 0;
  for (int round = 0; round < 40'000; ++round) {
    std::string text = random_value(random, 0).dump(random() % 3 == 0 ? 1 : -1, ' ', random() % 2 == 0);
    for (auto damage = random() % 3; damage > 0 && !text.empty(); --damage) {
      const size_t at = random() % text.size();
      const char c = random() % 16 == 0 ? static_cast<char>(random()) : kAlphabet[random() % kAlphabet.size()];
      switch (random() % 4) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        case 2:
          text.erase(at, 1);
          break;
        default:
          text.resize(at);
      }
    }
    const bool expected = oracle(text);
    ASSERT_EQ(is_valid_json(text), expected) << text;
    ASSERT_EQ(is_object(text), expected && Json::parse(text).is_object()) << text;
    ++(expected ? good : bad);
  }
  EXPECT_GT(good, 5'000u);
  EXPECT_GT(bad, 5'000u);
}

TEST(Json, AgreesWithAnotherParserOnNumbersNearTheLimitOfDoubles) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = random() % 2 == 0 ? "-" : "";
    text += static_cast<char>('0' + random() % 10);
    if (text.back() != '0')
      for (auto n = random() % (random() % 8 == 0 ? 320 : 4); n > 0; --n)
        text += static_cast<char>('0' + random() % 10);
    if (random() % 2 == 0) {
      text += '.';
      for (auto n = 1 + random() % 20; n > 0; --n)
        text += static_cast<char>(random() % 2 == 0 ? '0' : '0' + random() % 10);
    }
    if (random() % 4 != 0) text += 'e' + std::to_string(295 + random() % 20);
    ASSERT_EQ(is_valid_json(text), oracle(text)) << text;
  }
}

TEST(Json, DecodesStrings) {
  std::string scratch;
  const std::string plain = "\"plain \xC3\xBC\"";
  const auto view = decode_string(plain, scratch);
  EXPECT_EQ(view, "plain \xC3\xBC");
  EXPECT_EQ(view.data(), plain.data() + 1) << "no copy without escapes";
  EXPECT_TRUE(scratch.empty());
  EXPECT_EQ(decode_string("\"\"", scratch), "");
  for (const std::string raw :
       {R"("\"\\\/\b\f\n\r\t")", R"("\u0041\u00fc\u20AC\uD83D\uDE00z")", R"("a\u0000b")",
        R"("\u007f\u0080\u07ff\u0800\uffff")", R"("\uDBFF\uDFFF\uD800\uDC00")", R"("\\u0041\\\\")"}) {
    ASSERT_TRUE(is_valid_json(raw));
    EXPECT_EQ(decode_string(raw, scratch), Json::parse(raw).get<std::string>()) << raw;
  }
}

TEST(Json, DecodedTextIsAppendedToTheScratch) {
  std::string scratch = "kept";
  EXPECT_EQ(decode_string(R"("\n!")", scratch), "\n!");
  EXPECT_EQ(scratch, "kept\n!");
}

TEST(Json, WritesStringsThatReadBackAsTheyWere) {
  std::mt19937_64 random(3);
  const std::vector<std::string> pieces = {"a",
                                           "\"",
                                           "\\",
                                           "\n",
                                           "\t",
                                           "\b",
                                           "\f",
                                           "\r",
                                           std::string(1, '\0'),
                                           "\x01",
                                           "\x1f",
                                           "\x7f",
                                           "\xC3\xBC",
                                           "\xF0\x9F\x98\x80",
                                           "/",
                                           "sixteen bytes ok"};
  for (int round = 0; round < 2'000; ++round) {
    std::string text;
    for (auto n = random() % 30; n > 0; --n) text += pieces[random() % pieces.size()];
    std::string out;
    append_json_string(out, text);
    ASSERT_TRUE(is_valid_json(out)) << out;
    ASSERT_EQ(Json::parse(out).get<std::string>(), text);
    std::string scratch;
    ASSERT_EQ(decode_string(out, scratch), text);
  }
  std::string out;
  append_json_string(out, std::string_view("a\x1f\x01\n\"\\/", 7));
  EXPECT_EQ(out, R"("a\u001f\u0001\n\"\\/")");
}

TEST(Json, ReadsPlainIntegersOnly) {
  EXPECT_EQ(parse_uint64("0"), 0u);
  EXPECT_EQ(parse_uint64("18446744073709551615"), UINT64_MAX);
  for (const std::string raw :
       {"", "-1", "-0", "+1", "1.0", "1e3", "01", "00", "18446744073709551616", " 1", "1 ", "x", "\"1\""})
    EXPECT_EQ(parse_uint64(raw), std::nullopt) << raw;
  std::string out;
  append_uint(out, 0);
  append_uint(out, UINT64_MAX);
  EXPECT_EQ(out, "018446744073709551615");
}

}  // namespace
}  // namespace hubbub::protocol
