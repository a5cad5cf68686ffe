#include "hubbub/protocol/command.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hubbub::protocol {
namespace {

using Json = nlohmann::json;

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

/// A value that is right for a field, and some that are not.
Json good_value(const FieldSpec& field) {
  switch (field.type) {
    case FieldType::kUint:
      return 17;
    case FieldType::kLimit:
      return 500;
    case FieldType::kStatusToSet:
      return "busy";
    case FieldType::kUserIds:
      return {"ann", "bob"};
    case FieldType::kAnyJson:
      return {{"text", "hi"}};
    default:
      return "some-text";
  }
}
std::vector<Json> bad_values(const FieldSpec& field) {
  switch (field.type) {
    case FieldType::kUint:
      return {-1, 1.5, "1", true, Json::array(), Json::object()};
    case FieldType::kLimit:
      return {0, 501, -1, 1.5, "1", true, Json::array()};
    case FieldType::kStatusToSet:
      return {"offline", "", "Online", 1, true, "onlineonlineonlineonline"};
    case FieldType::kUserIds:
      return {"ann",
              Json::object(),
              1,
              Json::array({1}),
              Json::array({""}),
              Json::array({"ann", nullptr}),
              Json(kUserIdsMax + 1, "u")};
    case FieldType::kMessageId:
      return {"", std::string(129, 'x'), 1, Json::array()};
    case FieldType::kText:
      return {1, true, Json::array(), std::string(257, 'x')};
    case FieldType::kAnyJson:
      return {};
    default:
      return {"", 1, false, Json::array(), Json::object(), "a\nb", std::string(257, 'x'), "\xC2\x85"};
  }
}

Json full_command(const CommandSpec& spec) {
  Json json = {{"type", spec.name}, {"id", "c1"}};
  for (const auto& field : spec.fields) json[std::string(field.name)] = good_value(field);
  return json;
}

class CommandTest : public testing::Test {
 protected:
  const Command* parse(std::string text) {
    text_ = std::move(text);
    const auto result = parser_.parse(text_);
    error_ = result ? CommandError{} : result.error();
    return result ? &*result : nullptr;
  }
  void expect_error(std::string text, ErrorCode code, std::string_view field = {}, std::string_view id = {}) {
    EXPECT_EQ(parse(std::move(text)), nullptr) << text_;
    EXPECT_EQ(error_info(error_.code).code, error_info(code).code) << text_;
    EXPECT_EQ(error_.field, field) << text_;
    EXPECT_EQ(error_.id, id) << text_;
  }

  CommandParser parser_;
  std::string text_;
  CommandError error_;
};

TEST_F(CommandTest, ReadsARoomMessage) {
  const auto* command = parse(
      R"({"type":"room_message","id":"c-1","room_id":"room:1","content":{ "text" : "hi\n" , "n":1.50 },"message_id":"m1"})");
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->type, CommandType::kRoomMessage);
  EXPECT_EQ(command->id, "\"c-1\"");
  EXPECT_EQ(command->room_id, "room:1");
  EXPECT_EQ(command->content, "{ \"text\" : \"hi\\n\" , \"n\":1.50 }") << "content stays byte for byte";
  EXPECT_EQ(command->message_id, "m1");
  EXPECT_EQ(command->to_user, "");
  EXPECT_FALSE(command->since);
}

TEST_F(CommandTest, ReadsEveryFieldOfEveryCommand) {
  for (const auto& spec : kCommands) {
    const auto* command = parse(full_command(spec).dump());
    ASSERT_NE(command, nullptr) << spec.name << " " << error_.field;
    EXPECT_EQ(command->type, spec.type);
    EXPECT_EQ(command->id, "\"c1\"");
    for (const auto& field : spec.fields) {
      switch (field.field) {
        case Field::kRoomId:
          EXPECT_EQ(command->room_id, "some-text");
          break;
        case Field::kToUser:
          EXPECT_EQ(command->to_user, "some-text");
          break;
        case Field::kToSession:
          EXPECT_EQ(command->to_session, "some-text");
          break;
        case Field::kMessageId:
          EXPECT_EQ(command->message_id, "some-text");
          break;
        case Field::kStatus:
          EXPECT_EQ(command->status, "busy");
          break;
        case Field::kEpoch:
          EXPECT_EQ(command->epoch, "some-text");
          break;
        case Field::kContent:
          EXPECT_EQ(command->content, R"({"text":"hi"})");
          break;
        case Field::kData:
          EXPECT_EQ(command->data, R"({"text":"hi"})");
          break;
        case Field::kSince:
          EXPECT_EQ(command->since, 17u);
          break;
        case Field::kSinceSeq:
          EXPECT_EQ(command->since_seq, 17u);
          break;
        case Field::kBeforeSeq:
          EXPECT_EQ(command->before_seq, 17u);
          break;
        case Field::kSeq:
          EXPECT_EQ(command->seq, 17u);
          break;
        case Field::kLimit:
          EXPECT_EQ(command->limit, 500u);
          break;
        case Field::kUserIds:
          ASSERT_EQ(command->user_ids.size(), 2u);
          EXPECT_EQ(command->user_ids[0], "ann");
          EXPECT_EQ(command->user_ids[1], "bob");
          break;
        default:
          ADD_FAILURE() << spec.name << " has a field the parser does not give: " << field.name;
      }
    }
  }
}

TEST_F(CommandTest, NamesTheRequiredFieldThatIsMissing) {
  for (const auto& spec : kCommands) {
    for (const auto& field : spec.fields) {
      Json json = full_command(spec);
      json.erase(std::string(field.name));
      if (field.required)
        expect_error(json.dump(), ErrorCode::kMissingField, field.name, "\"c1\"");
      else
        EXPECT_NE(parse(json.dump()), nullptr) << json;
    }
  }
}

TEST_F(CommandTest, NamesTheFieldWithAWrongValue) {
  for (const auto& spec : kCommands) {
    for (const auto& field : spec.fields) {
      for (const auto& value : bad_values(field)) {
        Json json = full_command(spec);
        json[std::string(field.name)] = value;
        expect_error(json.dump(), ErrorCode::kBadField, field.name, "\"c1\"");
      }
    }
  }
}

TEST_F(CommandTest, TakesNullForNotGivenExceptWhereAnyJsonIsMeant) {
  for (const auto& spec : kCommands) {
    for (const auto& field : spec.fields) {
      Json json = full_command(spec);
      json[std::string(field.name)] = nullptr;
      if (field.required && field.type != FieldType::kAnyJson)
        expect_error(json.dump(), ErrorCode::kMissingField, field.name, "\"c1\"");
      else
        EXPECT_NE(parse(json.dump()), nullptr) << json;
    }
  }
  EXPECT_EQ(parse(R"({"type":"signal","to_user":"a","data":null})")->data, "null");
  EXPECT_EQ(parse(R"({"type":"ping","id":null})")->id, "");
}

TEST_F(CommandTest, EchoesStringAndNumberIdsAsWritten) {
  for (const std::string id : {"7", "-1.50e2", "\"\"", "\"a\\u0041\"", "\"\xC3\xBC\""}) {
    const auto* command = parse(R"({"type":"ping","id":)" + id + "}");
    ASSERT_NE(command, nullptr) << id;
    EXPECT_EQ(command->id, id);
  }
  EXPECT_EQ(parse(R"({"type":"ping"})")->id, "");
}

TEST_F(CommandTest, RefusesOtherIds) {
  for (const std::string id : {"true", "[]", "{}", "[1]"})
    expect_error(R"({"type":"ping","id":)" + id + "}", ErrorCode::kBadField, "id");
  EXPECT_NE(parse(R"({"type":"ping","id":")" + std::string(256, 'x') + "\"}"), nullptr);
  expect_error(R"({"type":"ping","id":")" + std::string(257, 'x') + "\"}", ErrorCode::kBadField, "id");
  expect_error(R"({"type":"ping","id":)" + std::string(257, '1') + "}", ErrorCode::kBadField, "id");
}

TEST_F(CommandTest, TellsTheIdInEveryErrorWhenItCouldBeRead) {
  expect_error(R"({"id":7,"type":"nope"})", ErrorCode::kUnknownType, "", "7");
  expect_error(R"({"id":7})", ErrorCode::kMissingField, "type", "7");
  expect_error(R"({"id":7,"type":5})", ErrorCode::kBadField, "type", "7");
  expect_error(R"({"type":"join_room","id":"x"})", ErrorCode::kMissingField, "room_id", "\"x\"");
  expect_error(R"({"type":"ping","id":"x","a":})", ErrorCode::kBadJson, "", "\"x\"");
  expect_error(R"({"type":"ping","a":,"id":"x"})", ErrorCode::kBadJson, "", "");
  expect_error(R"({"type":"ping","id":"x)", ErrorCode::kBadJson, "", "");
  expect_error(R"({"type":"ping","id":1 ,"a":})", ErrorCode::kBadJson, "", "1");
}

// Of `01` the scanner has read the 0 when it stops: an id that the client never wrote.
TEST_F(CommandTest, TellsNoIdThatBadJsonCutOff) {
  for (const std::string id : {"01", "1.5.5", "1x", "-0 0", "\"a\"b", "7"})
    expect_error(R"({"type":"ping","id":)" + id, ErrorCode::kBadJson, "", "");
}

TEST_F(CommandTest, TakesANullTypeAsMissing) {
  expect_error(R"({"type":null,"id":1})", ErrorCode::kMissingField, "type", "1");
}

TEST_F(CommandTest, RefusesWhatIsNotOneJsonObject) {
  for (const std::string text :
       {"", " ", "[]", "null", "\"ping\"", "{", "{\"type\":\"ping\"", "{\"type\":\"ping\"} {}", "{\"type\":\"ping\",}",
        "{'type':'ping'}", "{\"type\":\"ping\",\"x\":\"\xFF\"}", "{\"type\":\"ping\",\"x\":\"\\uD800\"}", "hello"})
    expect_error(text, ErrorCode::kBadJson);
  EXPECT_NE(parse("{\"type\":\"ping\",\"x\":" + nested(63) + "}"), nullptr);
  expect_error("{\"type\":\"ping\",\"x\":" + nested(64) + "}", ErrorCode::kBadJson);
}

TEST_F(CommandTest, DoesNotKnowOtherTypes) {
  for (const std::string type : {"", "Ping", "ping ", "cursors", "auth", "message", "typing", "p"})
    expect_error(R"({"type":")" + type + "\"}", ErrorCode::kUnknownType);
  expect_error(R"({"type":")" + std::string(5000, 'x') + "\"}", ErrorCode::kUnknownType);
}

TEST_F(CommandTest, IgnoresUnknownFieldsAndThoseOfOtherCommands) {
  const auto* command =
      parse(R"({"type":"leave_room","room_id":"r","limit":"no","extra":{"a":[1]},"":1,"user_ids":3})");
  ASSERT_NE(command, nullptr);
  EXPECT_FALSE(command->limit);
  EXPECT_TRUE(command->user_ids.empty());
}

TEST_F(CommandTest, TakesTheLastOfDuplicateKeys) {
  const auto* command = parse(R"({"type":"ping","room_id":1,"type":"leave_room","room_id":"b","id":1,"id":2})");
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->type, CommandType::kLeaveRoom);
  EXPECT_EQ(command->room_id, "b");
  EXPECT_EQ(command->id, "2");
}

TEST_F(CommandTest, ReadsEscapedKeysAndTypesLikeAnyJsonParser) {
  const auto* command = parse(R"({"\u0074ype":"join\u005froom","room\u005Fid":"r\u00fcm","a\nb":1})");
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->type, CommandType::kJoinRoom);
  EXPECT_EQ(command->room_id, "r\xC3\xBCm");
  EXPECT_NE(parse("{\"" + std::string(200, 'x') + "\\n\":1,\"type\":\"ping\"}"), nullptr);
}

TEST_F(CommandTest, KeepsAllDecodedTextsOfOneCommandAlive) {
  std::string users;
  for (size_t i = 0; i < kUserIdsMax; ++i) users += (i > 0 ? "," : "") + ("\"u\\u0040" + std::to_string(i) + "\"");
  const auto* command = parse(R"({"type":"presence_query","user_ids":[)" + users + "]}");
  ASSERT_NE(command, nullptr);
  ASSERT_EQ(command->user_ids.size(), kUserIdsMax);
  for (size_t i = 0; i < kUserIdsMax; ++i) EXPECT_EQ(command->user_ids[i], "u@" + std::to_string(i));
  command = parse(R"({"type":"room_message","room_id":"\u0041\u0042","message_id":"\u0043","content":1})");
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->room_id, "AB");
  EXPECT_EQ(command->message_id, "C");
}

TEST_F(CommandTest, CountsDecodedBytesOfIds) {
  std::string escaped;
  for (int i = 0; i < 256; ++i) escaped += "\\u0041";
  EXPECT_NE(parse(R"({"type":"leave_room","room_id":")" + escaped + "\"}"), nullptr);
  expect_error(R"({"type":"leave_room","room_id":")" + escaped + "A\"}", ErrorCode::kBadField, "room_id");
  expect_error(R"({"type":"leave_room","room_id":"a\u0000"})", ErrorCode::kBadField, "room_id");
  expect_error(R"({"type":"leave_room","room_id":"a\u0085"})", ErrorCode::kBadField, "room_id");
  EXPECT_EQ(parse(R"({"type":"presence_query","user_ids":[]})")->user_ids.size(), 0u);
}

TEST_F(CommandTest, ForgetsThePreviousCommand) {
  ASSERT_NE(parse(R"({"type":"history","id":1,"room_id":"r","since_seq":1,"limit":3})"), nullptr);
  const auto* command = parse(R"({"type":"history"})");
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->id, "");
  EXPECT_EQ(command->room_id, "");
  EXPECT_FALSE(command->since_seq);
  EXPECT_FALSE(command->limit);
  expect_error(R"({"type":"leave_room"})", ErrorCode::kMissingField, "room_id");
}

TEST_F(CommandTest, SequenceNumbersUseTheWholeRange) {
  EXPECT_EQ(parse(R"({"type":"received","seq":18446744073709551615})")->seq, UINT64_MAX);
  EXPECT_EQ(parse(R"({"type":"received","seq":0})")->seq, 0u);
  expect_error(R"({"type":"received","seq":18446744073709551616})", ErrorCode::kBadField, "seq");
}

}  // namespace
}  // namespace hubbub::protocol
