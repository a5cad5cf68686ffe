#include "hubbub/protocol/event.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hubbub::protocol {
namespace {

using Json = nlohmann::ordered_json;

template <class Event>
std::string encode(const Event& event) {
  std::string out = "before";
  append_event(out, event);
  EXPECT_EQ(out.substr(0, 6), "before") << "encoders append";
  return out.substr(6);
}

constexpr int64_t kMoment = 1'795'549'204'123;

std::string message_body(std::string_view message_id = {}) {
  std::string body;
  append_message_body(
      body,
      {.room_id = "r", .from = "u", .content = R"({ "a" : 1.0 })", .timestamp_ms = kMoment, .message_id = message_id});
  return body;
}

TEST(Event, WritesAMessageInTheDocumentedOrder) {
  std::string out;
  append_stored_event(out, "message", kMoment, 7, message_body());
  EXPECT_EQ(out, R"({"type":"message","id":"1795549204123-7","seq":7,"room_id":"r","from":"u","content":{ "a" : 1.0 },)"
                 R"("timestamp":"2026-11-24T19:40:04.123Z"})");
  EXPECT_EQ(message_body("m\"1").substr(message_body().size()), R"(,"message_id":"m\"1")");
}

TEST(Event, WritesADirectMessage) {
  std::string body, out;
  append_direct_message_body(body,
                             {.from = "a", .to_user = "b", .content = "null", .timestamp_ms = 0, .message_id = "m1"});
  append_stored_event(out, "direct_message", 1, UINT64_MAX, body);
  EXPECT_EQ(
      out,
      R"({"type":"direct_message","id":"1-18446744073709551615","seq":18446744073709551615,"from":"a","to_user":"b",)"
      R"("content":null,"timestamp":"1970-01-01T00:00:00.000Z","message_id":"m1"})");
}

TEST(Event, WritesTheLargestNumbers) {
  std::string out;
  append_stored_event(out, "m", UINT64_MAX, UINT64_MAX, "");
  EXPECT_EQ(out, R"({"type":"m","id":"18446744073709551615-18446744073709551615","seq":18446744073709551615})");
  out.clear();
  append_event_id(out, {.ms = UINT64_MAX, .seq = UINT64_MAX});
  EXPECT_EQ(out, "18446744073709551615-18446744073709551615");
}

TEST(Event, ANotificationKeepsTheBackendsFieldsButNotTheServersOwn) {
  std::string body = "x";
  ASSERT_TRUE(append_notification_body(
      body, R"( { "type":"alert", "title" : "Hi\n", "\u0069d":4, "data":{"type":1, "seq":2}, "seq":9 } )"));
  EXPECT_EQ(body, R"(x"title":"Hi\n","data":{"type":1, "seq":2})");
  std::string out;
  append_stored_event(out, "notification", 5, 6, body.substr(1));
  EXPECT_EQ(Json::parse(out)["data"]["seq"], 2);
}

TEST(Event, ANotificationMayBeEmptyAndMustBeAnObject) {
  std::string body, out;
  ASSERT_TRUE(append_notification_body(body, R"({"type":"alert"})"));
  append_stored_event(out, "notification", 5, 6, body);
  EXPECT_EQ(out, R"({"type":"notification","id":"5-6","seq":6})");
  body = "kept";
  for (const std::string bad : {"", "[]", "1", R"({"a":1,"b":})", R"({"a":1} x)"})
    EXPECT_FALSE(append_notification_body(body, bad));
  EXPECT_EQ(body, "kept");
}

TEST(Event, WritesAcks) {
  EXPECT_EQ(encode(AckEvent{.id = "\"x\""}), R"({"type":"ack","id":"x"})");
  EXPECT_EQ(encode(AckEvent{.id = "1", .room_id = "r"}), R"({"type":"ack","id":1,"room_id":"r"})");
  EXPECT_EQ(encode(AckEvent{.id = "1", .message = EventId{.ms = 9, .seq = 3}}),
            R"({"type":"ack","id":1,"message":"9-3","seq":3})");
  EXPECT_EQ(encode(AckEvent{.id = "1", .message = EventId{.ms = 9, .seq = 3}, .duplicate = true, .sessions = 0}),
            R"({"type":"ack","id":1,"message":"9-3","seq":3,"duplicate":true,"sessions":0})");
  EXPECT_EQ(encode(AckEvent{.id = "1", .count = 2}), R"({"type":"ack","id":1,"count":2})");
}

TEST(Event, WritesErrorsWithTheTablesTextUnlessAnotherIsGiven) {
  EXPECT_EQ(encode(ErrorEvent{.code = ErrorCode::kBadJson}),
            R"({"type":"error","code":"bad_json","message":"The message is not a valid JSON object."})");
  EXPECT_EQ(encode(ErrorEvent{.id = "5", .code = ErrorCode::kBadField, .message = "no \"that\"", .field = "limit"}),
            R"({"type":"error","id":5,"code":"bad_field","message":"no \"that\"","field":"limit"})");
  std::string out;
  append_http_error(out, ErrorCode::kNotFound);
  EXPECT_EQ(out, R"({"error":{"code":"not_found","message":"There is nothing at this path."}})");
}

TEST(Event, WritesJoined) {
  const std::vector<std::string_view> members = {"ann", "b\"ob"};
  EXPECT_EQ(encode(JoinedEvent{.room_id = "r", .seq = 4, .epoch = "e"}),
            R"({"type":"joined","room_id":"r","seq":4,"epoch":"e","members":[],"member_count":0})");
  EXPECT_EQ(encode(JoinedEvent{.id = "1",
                               .room_id = "r",
                               .seq = 4,
                               .epoch = "e",
                               .members = members,
                               .member_count = 200,
                               .already = true,
                               .recovered = false}),
            R"({"type":"joined","id":1,"room_id":"r","seq":4,"epoch":"e","members":["ann","b\"ob"],"member_count":200,)"
            R"("already":true,"recovered":false})");
}

TEST(Event, WritesPresenceWithLastSeenOrNull) {
  EXPECT_EQ(encode(PresenceEvent{.user_id = "u", .status = "offline"}),
            R"({"type":"presence","user_id":"u","status":"offline","last_seen":null})");
  EXPECT_EQ(encode(PresenceEvent{.user_id = "u", .status = "away", .last_seen_ms = 0}),
            R"({"type":"presence","user_id":"u","status":"away","last_seen":"1970-01-01T00:00:00.000Z"})");
}

TEST(Event, WritesHistoryPieceByPiece) {
  std::string out;
  HistoryWriter empty(out, {.epoch = "e"});
  empty.finish(false);
  EXPECT_EQ(out, R"({"type":"history","epoch":"e","messages":[],"more":false})");
  out.clear();
  HistoryWriter two(out, {.id = "\"h\"", .room_id = "r", .epoch = "e"});
  two.add("message", 1, 1, R"("from":"a")");
  two.add("message", 2, 2, R"("from":"b")");
  two.finish(true);
  EXPECT_EQ(
      out,
      R"({"type":"history","id":"h","room_id":"r","epoch":"e","messages":[)"
      R"({"type":"message","id":"1-1","seq":1,"from":"a"},{"type":"message","id":"2-2","seq":2,"from":"b"}],"more":true})");
}

TEST(Event, WritesEventsThatNoStreamKeeps) {
  std::string out;
  append_ephemeral_event(out, "message", R"("room_id":"r")");
  EXPECT_EQ(out, R"({"type":"message","room_id":"r"})");
  EXPECT_EQ(encode(RemovedEvent{.room_id = "r\"x"}), R"({"type":"removed","room_id":"r\"x"})");
  EXPECT_EQ(encode(BroadcastEvent{.from = "server", .content = "[1, 2]", .timestamp_ms = 0}),
            R"({"type":"broadcast","from":"server","content":[1, 2],"timestamp":"1970-01-01T00:00:00.000Z"})");
}

TEST(Event, WritesABareHistoryWithoutTypeAndId) {
  std::string out;
  HistoryWriter writer(out, {.room_id = "r", .epoch = "e", .bare = true});
  writer.finish(false);
  EXPECT_EQ(out, R"({"room_id":"r","epoch":"e","messages":[],"more":false})");
}

TEST(Event, LeavesOutOfANotificationWhatItIsToldTo) {
  std::string out;
  const std::vector<std::string_view> without = {"report"};
  EXPECT_TRUE(append_notification_body(out, R"({"a":1,"report":"sync","b":2})", without));
  EXPECT_EQ(out, R"("a":1,"b":2)");
}

/// Each event twice: with everything, and with nothing that may be left out.
std::multimap<EventType, std::string> samples() {
  std::multimap<EventType, std::string> out;
  const auto add = [&out](EventType type, std::string text) { out.emplace(type, std::move(text)); };
  const std::vector<std::string_view> members = {"a"};
  add(EventType::kConnected,
      encode(
          ConnectedEvent{.session_id = "s", .session_key = "k", .user_id = "u", .server_id = "n", .recovered = true}));
  add(EventType::kConnected,
      encode(ConnectedEvent{
          .session_id = "s", .session_key = "k", .user_id = "u", .server_id = "n", .heartbeat_ms = 30'000}));
  add(EventType::kAck, encode(AckEvent{.id = "1"}));
  add(EventType::kAck, encode(AckEvent{.id = "1",
                                       .room_id = "r",
                                       .message = EventId{.ms = 1, .seq = 1},
                                       .duplicate = true,
                                       .sessions = 1,
                                       .count = 1}));
  add(EventType::kError, encode(ErrorEvent{.code = ErrorCode::kInternal}));
  add(EventType::kError, encode(ErrorEvent{.id = "1", .code = ErrorCode::kInternal, .field = "x", .room_id = "r"}));
  for (const bool full : {false, true}) {
    add(EventType::kCursor, encode(CursorEvent{.id = full ? "1" : "", .cursor = "c"}));
    std::string closed;
    append_closed_event(closed, full ? CloseCode::kGoingAway : CloseCode::kReplaced);
    add(EventType::kClosed, closed);
  }
  add(EventType::kPong, encode(PongEvent{}));
  add(EventType::kPong, encode(PongEvent{.id = "1"}));
  add(EventType::kJoined, encode(JoinedEvent{.room_id = "r", .epoch = "e"}));
  add(EventType::kJoined,
      encode(JoinedEvent{
          .id = "1", .room_id = "r", .epoch = "e", .members = members, .already = true, .recovered = true}));
  for (const bool full : {false, true}) {
    std::string text;
    HistoryWriter writer(text, {.id = full ? "1" : "", .room_id = full ? "r" : "", .epoch = "e"});
    writer.finish(full);
    add(EventType::kHistory, text);
    text.clear();
    append_stored_event(text, event_name(EventType::kMessage), 1, 2, message_body(full ? "m" : ""));
    add(EventType::kMessage, text);
    std::string body;
    append_direct_message_body(
        body, {.from = "a", .to_user = "b", .content = "1", .timestamp_ms = 1, .message_id = full ? "m" : ""});
    text.clear();
    append_stored_event(text, event_name(EventType::kDirectMessage), 1, 2, body);
    add(EventType::kDirectMessage, text);
    for (const EventType type : {EventType::kMessage, EventType::kDirectMessage}) {
      text.clear();
      body.clear();
      if (type == EventType::kMessage) {
        append_message_body(body, {.room_id = "r", .from = "a", .content = "1", .ephemeral = true});
      } else {
        append_direct_message_body(body, {.from = "a", .to_user = "b", .content = "1", .ephemeral = true});
      }
      append_ephemeral_event(text, event_name(type), body);
      add(type, text);
    }
    add(EventType::kGap,
        encode(
            GapEvent{.room_id = full ? "r" : "", .from_seq = 1, .to_seq = 2, .epoch = full ? "1770a13682ec9466" : ""}));
  }
  std::string notification;
  append_stored_event(notification, event_name(EventType::kNotification), 1, 2, "");
  add(EventType::kNotification, notification);
  for (const auto type :
       {EventType::kUserJoined, EventType::kUserLeft, EventType::kTypingStart, EventType::kTypingStop})
    add(type, encode(RoomUserEvent{.type = type, .user_id = "u", .room_id = "r"}));
  add(EventType::kMembers, encode(MembersEvent{.room_id = "r", .member_count = 1}));
  add(EventType::kPresence, encode(PresenceEvent{.user_id = "u", .status = "away"}));
  add(EventType::kSignal, encode(SignalEvent{.from = "a", .from_session = "s", .data = "[1]"}));
  add(EventType::kRemoved, encode(RemovedEvent{.room_id = "r"}));
  add(EventType::kBroadcast, encode(BroadcastEvent{.from = "a", .content = "1", .timestamp_ms = 1}));
  return out;
}

TEST(Event, EveryEventHasTheFieldsOfTheSchemaInItsOrder) {
  const auto all = samples();
  for (const auto& spec : kEvents) {
    const auto [first, last] = all.equal_range(spec.type);
    ASSERT_NE(first, last) << spec.name << " has no sample here";
    std::map<std::string, int> seen;
    int count = 0;
    for (auto it = first; it != last; ++it, ++count) {
      const Json json = Json::parse(it->second);
      ASSERT_EQ(json.begin().key(), "type");
      EXPECT_EQ(json["type"], spec.name);
      auto field = spec.fields.begin();
      for (auto member = std::next(json.begin()); member != json.end(); ++member) {
        ++seen[member.key()];
        while (field != spec.fields.end() && field->name != member.key()) ++field;
        ASSERT_NE(field, spec.fields.end()) << spec.name << ": " << member.key() << " is unknown or out of order";
      }
    }
    for (const auto& field : spec.fields) {
      const int times = seen[std::string(field.name)];
      EXPECT_TRUE(field.required ? times == count : times > 0 && times < count) << spec.name << "." << field.name;
    }
  }
}

TEST(Event, EscapesEveryTextThatAClientChose) {
  const std::string nasty = "\"},{\\\xC3\xBC";
  std::vector<std::string> texts = {
      encode(ConnectedEvent{.session_id = nasty, .session_key = nasty, .user_id = nasty, .server_id = nasty}),
      encode(AckEvent{.id = "1", .room_id = nasty}),
      encode(ErrorEvent{.message = nasty, .field = nasty}),
      encode(JoinedEvent{.room_id = nasty, .epoch = nasty, .members = std::vector<std::string_view>{nasty}}),
      encode(GapEvent{.room_id = nasty}),
      encode(PresenceEvent{.user_id = nasty, .status = "away"}),
      encode(SignalEvent{.from = nasty, .from_session = nasty, .data = "1"}),
      encode(RoomUserEvent{.type = EventType::kUserLeft, .user_id = nasty, .room_id = nasty}),
      encode(MembersEvent{.room_id = nasty}),
  };
  std::string body, text;
  append_message_body(body, {.room_id = nasty, .from = nasty, .content = "1", .message_id = nasty});
  append_stored_event(text, "message", 1, 1, body);
  texts.push_back(text);
  body.clear();
  text.clear();
  append_direct_message_body(body, {.from = nasty, .to_user = nasty, .content = "1", .message_id = nasty});
  append_stored_event(text, "direct_message", 1, 1, body);
  texts.push_back(text);
  for (const auto& each : texts) {
    ASSERT_TRUE(Json::accept(each)) << each;
    EXPECT_NE(each.find(R"(\"},{\\)"), std::string::npos) << each;
  }
}

}  // namespace
}  // namespace hubbub::protocol
