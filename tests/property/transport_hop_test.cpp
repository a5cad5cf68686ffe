#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hubbub/base/random.hpp"
#include "hubbub/protocol/cursor.hpp"
#include "support/transport_fixture.hpp"

// Clients hop between WebSocket, SSE and polling, are cut off at random, and go on by their cursor, while publishers
// run. Each must see each retained event of its rooms and inbox in order: on each connection without a gap from where
// its cursor stood, so that repeats are exactly what followed the cursor; and what it is told of loss must be true.
namespace hubbub {
namespace {

using protocol::Cursor;
using test::Json;
using test::Response;
using test::Socket;
using test::SseBlock;
using test::TransportFixture;
using test::TransportFixtureOptions;

constexpr int kSteps = 120;
const std::vector<std::string> kRooms = {"r0", "r1", "r:2 \xC3\xBC"};

broker::StreamKey stream_of(const std::string& room, const std::string& user) {
  return room.empty() ? broker::StreamKey{broker::StreamKind::kInbox, base::SharedString(user)}
                      : broker::StreamKey{broker::StreamKind::kRoom, base::SharedString(room)};
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c));
    out += hex;
  }
  return out;
}

class HopClient {
 public:
  HopClient(TransportFixture& world, std::mt19937& random, std::string user)
      : world_(world), random_(random), user_(std::move(user)) {}

  void step() {
    switch (pick(8)) {
      case 0:
      case 1:
        return mode_ == Mode::kNone ? connect() : read(SIZE_MAX);
      case 2:
        return read(pick(400));
      case 3:
        return join(kRooms[pick(kRooms.size())]);
      case 4:
        if (mode_ == Mode::kWebSocket) socket_->send(test::client_frame(R"({"type":"cursor"})"));
        return;
      case 5:
        if (pick(2) == 0) cut();
        return;
      default:
        if (mode_ == Mode::kPoll && !polling_) send_poll(pick(3) == 0 ? 0 : 20);
        return;
    }
  }

  /// Comes back one last time and must have everything.
  void finish() {
    cut();
    if (cursor_text_.empty()) return;
    connect();
    for (int i = 0; i < 12; ++i) {
      world_.settle();
      read(SIZE_MAX);
      if (mode_ == Mode::kPoll && !polling_) send_poll(0);
      if (mode_ == Mode::kNone) connect();  // an old session was ended by the clock
      world_.advance_ms(100);
    }
    for (const auto& [room, stream] : streams_) {
      const broker::Page page = world_.page(stream_of(room, user_));
      EXPECT_EQ(stream.last, page.head_seq) << user_ << " in '" << room << "' by " << static_cast<int>(mode_);
    }
  }

  int events = 0;
  int repeats = 0;
  int takeovers = 0;
  int losses_told = 0;

 private:
  enum class Mode { kNone, kWebSocket, kSse, kPoll };
  struct Stream {
    std::uint64_t start = 0;   // the position at which this session's membership began
    std::uint64_t expect = 0;  // next seq on this connection; 0: loss was told, so any that is the oldest kept
    std::uint64_t last = 0;    // newest seen ever
  };

  std::size_t pick(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
  unsigned any_shard() { return static_cast<unsigned>(pick(world_.pool.size())); }

  void connect() {
    socket_.emplace(world_.connect(any_shard()));
    mode_ = static_cast<Mode>(1 + pick(3));
    head_seen_ = false;
    resumed_ = mode_ == Mode::kPoll && cursor_;  // a poll that goes on says nothing of it
    if (cursor_text_.empty()) streams_.clear();
    if (!cursor_ || base::to_hex(cursor_->session) != session_id_) {
      // It is not the last session that goes on: what was joined there and is not in the cursor is over.
      session_id_.clear();
      forget_rooms_without_cursor();
    }
    const std::string who = escaped(user_);
    switch (mode_) {
      case Mode::kWebSocket:
        expect_from_cursor();
        socket_->send(test::websocket_request("/ws/" + who + (cursor_text_.empty() ? "" : "?since=" + cursor_text_)));
        break;
      case Mode::kSse:
        expect_from_cursor();
        socket_->send("GET /events/" + who + "?room=" + escaped(kRooms[0]) + " HTTP/1.1\r\nHost: x\r\n" +
                      (cursor_text_.empty() ? "" : "Last-Event-ID: " + cursor_text_ + "\r\n") + "\r\n");
        break;
      default:
        polling_ = false;
        send_poll(0);
    }
  }

  void forget_rooms_without_cursor() {
    std::erase_if(streams_, [&](const auto& entry) { return !cursor_ || cursor_->find(entry.first) == nullptr; });
  }

  void send_poll(int timeout_s) {
    polling_ = true;
    expect_from_cursor();
    socket_->send("GET /poll/" + escaped(user_) + "?timeout=" + std::to_string(timeout_s) +
                  (cursor_text_.empty() ? "" : "&cursor=" + cursor_text_) + " HTTP/1.1\r\nHost: x\r\n\r\n");
  }

  void expect_from_cursor() {
    for (auto& [room, stream] : streams_) {
      const protocol::CursorEntry* entry = cursor_ ? cursor_->find(room) : nullptr;
      stream.expect = (entry == nullptr ? stream.start : entry->seq) + 1;
    }
  }

  void cut() {
    if (socket_ && pick(2) == 0) read(pick(300));
    socket_.reset();
    mode_ = Mode::kNone;
    polling_ = false;
    if (pick(3) == 0) world_.settle();
  }

  void join(const std::string& room) {
    const std::string command = Json{{"type", "join_room"}, {"room_id", room}}.dump();
    if (mode_ == Mode::kWebSocket && head_seen_) return socket_->send(test::client_frame(command));
    if (mode_ != Mode::kSse && mode_ != Mode::kPoll) return;
    if (session_id_.empty()) return;
    Socket caller(world_.connect(any_shard()));
    caller.send("POST /sessions/" + session_id_ + "/commands HTTP/1.1\r\nHost: x\r\nX-Session-Key: " + session_key_ +
                "\r\nContent-Length: " + std::to_string(command.size()) + "\r\n\r\n" + command);
    world_.settle();
    caller.read();
    Response response;
    ASSERT_TRUE(test::take_response(caller.bytes(), response)) << caller.bytes();
    if (response.status == 404) return;  // the session is over; the stream will tell
    ASSERT_EQ(response.status, 200) << response.body;
    const Json answer = Json::parse(response.body)["answers"][0];
    ASSERT_EQ(answer["type"], "joined") << answer;
    if (answer.contains("already") || streams_.contains(room)) return;
    streams_[room] = begun(answer["seq"].get<std::uint64_t>());
  }

  /// Two ways to be in a stream without having heard of its start: the answer to a first poll, which has no cursor,
  /// counts as delivered when it is lost; and a session that goes on may have joined a room when nobody was there to
  /// hear it.
  void begin_in_the_middle(const std::string& room, std::uint64_t at) {
    if (streams_.contains(room)) return;
    if ((!cursor_ && mode_ == Mode::kPoll) || resumed_) {
      streams_[room] = begun(at);
    }
  }

  static Stream begun(std::uint64_t at) { return {at, at + 1, at}; }

  void read(std::size_t max) {
    if (!socket_) return;
    socket_->read(max);
    std::string& bytes = socket_->bytes();
    if (!head_seen_ && mode_ != Mode::kPoll) {
      std::string head;
      if (!test::take_head(bytes, head)) return check_end();
      head_seen_ = true;
      ASSERT_TRUE(head.starts_with(mode_ == Mode::kSse ? "HTTP/1.1 200 " : "HTTP/1.1 101 ")) << head << bytes;
    }
    switch (mode_) {
      case Mode::kWebSocket:
        read_frames(bytes);
        break;
      case Mode::kSse:
        read_blocks(bytes);
        break;
      default:
        read_answers(bytes);
    }
    check_end();
  }

  void check_end() {
    if (socket_ && socket_->at_end()) {
      socket_.reset();
      mode_ = Mode::kNone;
      polling_ = false;
    }
  }

  void read_frames(std::string& bytes) {
    unsigned opcode = 0;
    std::string payload;
    while (test::take_frame(bytes, opcode, payload)) {
      if (opcode == 1) on_event(Json::parse(payload));
    }
  }

  void read_blocks(std::string& bytes) {
    SseBlock block;
    while (test::take_sse_block(bytes, block)) {
      if (block.event == "cursor") {
        hold(block.id);
      } else if (block.has_data) {
        const Json event = Json::parse(block.data);
        EXPECT_EQ(event["type"], block.event);
        on_event(event);
      }
    }
  }

  void read_answers(std::string& bytes) {
    Response response;
    while (test::take_response(bytes, response)) {
      polling_ = false;
      if (response.status != 200) {
        // Another poll of this session came first: only after a cut, when the old one was still waiting.
        ASSERT_EQ(response.status, 409) << response.body;
        continue;
      }
      const Json answer = Json::parse(response.body);
      for (const Json& event : answer["messages"]) on_event(event);
      hold(answer["cursor"]);
    }
  }

  void hold(const std::string& text) {
    auto parsed = protocol::parse_cursor(text, user_);
    ASSERT_TRUE(std::holds_alternative<Cursor>(parsed)) << text;
    const Cursor& cursor = std::get<Cursor>(parsed);
    // A cursor must not promise more than has come before it.
    for (const auto& entry : cursor.entries) {
      begin_in_the_middle(entry.room_id, entry.seq);
      const auto stream = streams_.find(entry.room_id);
      if (stream == streams_.end() || stream->second.expect == 0) continue;
      EXPECT_LE(entry.seq, std::max(stream->second.expect - 1, stream->second.last))
          << user_ << " '" << entry.room_id << "'";
    }
    cursor_text_ = text;
    cursor_ = cursor;
  }

  void on_event(const Json& event) {
    ++events;
    const std::string type = event["type"];
    if (type == "connected") return on_connected(event);
    if (type == "joined") return on_joined(event);
    if (type == "message") return on_kept(event["room_id"], event);
    if (type == "direct_message") return on_kept("", event);
    if (type == "gap") return on_gap(event);
    if (type == "cursor") return hold(event["cursor"]);
    EXPECT_TRUE(type != "error") << user_ << " " << event << " cursor " << cursor_text_;
  }

  void on_connected(const Json& event) {
    session_id_ = event["session_id"];
    session_key_ = event["session_key"];
    if (event["resumed"].get<bool>()) {
      ++takeovers;
      resumed_ = true;
      return;
    }
    resumed_ = false;
    // A new session is in the rooms of the cursor alone, and its first memberships begin there.
    forget_rooms_without_cursor();
    if (!cursor_) {
      auto parsed = protocol::parse_cursor(event["cursor"].get<std::string>(), user_);
      ASSERT_TRUE(std::holds_alternative<Cursor>(parsed));
      const protocol::CursorEntry* inbox = std::get<Cursor>(parsed).find("");
      ASSERT_NE(inbox, nullptr);
      streams_[""] = begun(inbox->seq);
      return;
    }
    if (event.contains("recovered")) on_recovered("", event["recovered"].get<bool>());
  }

  void on_joined(const Json& event) {
    const std::string room = event["room_id"];
    if (event.contains("already")) return;
    if (event.contains("recovered")) return on_recovered(room, event["recovered"].get<bool>());
    if (!streams_.contains(room)) streams_[room] = begun(event["seq"].get<std::uint64_t>());
  }

  void on_recovered(const std::string& room, bool recovered) {
    ASSERT_TRUE(cursor_);
    const protocol::CursorEntry* entry = cursor_->find(room);
    if (entry == nullptr) return;
    Stream& stream = streams_[room];
    stream.start = entry->seq;
    stream.expect = recovered ? entry->seq + 1 : 0;
    stream.last = std::max(stream.last, entry->seq);
    if (recovered) return;
    ++losses_told;
    const broker::Page page = world_.page(stream_of(room, user_));
    EXPECT_TRUE(page.epoch != entry->epoch || page.first_seq > entry->seq + 1)
        << user_ << " '" << room << "': nothing was lost";
  }

  void on_gap(const Json& event) {
    const std::string room = event.contains("room_id") ? event["room_id"].get<std::string>() : "";
    begin_in_the_middle(room, event["from_seq"].get<std::uint64_t>() - 1);
    ASSERT_TRUE(streams_.contains(room));
    Stream& stream = streams_[room];
    ++losses_told;
    const auto from = event["from_seq"].get<std::uint64_t>();
    const auto to = event["to_seq"].get<std::uint64_t>();
    EXPECT_TRUE(stream.expect == 0 || from == stream.expect) << user_ << " '" << room << "' " << from;
    EXPECT_GT(world_.page(stream_of(room, user_)).first_seq, to) << "what is kept was called lost";
    stream.expect = to + 1;
    stream.last = std::max(stream.last, to);
  }

  void on_kept(const std::string& room, const Json& event) {
    const auto seq = event["seq"].get<std::uint64_t>();
    begin_in_the_middle(room, seq - 1);
    ASSERT_TRUE(streams_.contains(room)) << user_ << " is not in '" << room << "': " << event;
    Stream& stream = streams_[room];
    if (stream.expect == 0) {
      EXPECT_GE(world_.page(stream_of(room, user_)).first_seq, seq) << "kept events were left out";
      stream.start = seq - 1;
      stream.expect = seq;
    }
    EXPECT_EQ(seq, stream.expect) << user_ << " '" << room << "' by " << static_cast<int>(mode_);
    EXPECT_EQ(event["content"], seq) << "another event under this number";
    if (seq <= stream.last) ++repeats;
    stream.expect = seq + 1;
    stream.last = std::max(stream.last, seq);
  }

  TransportFixture& world_;
  std::mt19937& random_;
  const std::string user_;
  Mode mode_ = Mode::kNone;
  std::optional<Socket> socket_;
  bool head_seen_ = false;
  bool polling_ = false;
  std::string cursor_text_;
  std::optional<Cursor> cursor_;
  bool resumed_ = false;
  std::string session_id_;
  std::string session_key_;
  std::map<std::string, Stream> streams_;
};

struct Totals {
  int events = 0, repeats = 0, takeovers = 0, losses_told = 0;
};

void run_schedule(unsigned seed, Totals& totals) {
  std::mt19937 random(seed);
  const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  TransportFixtureOptions options;
  options.shards = static_cast<unsigned>(1 + pick(3));
  if (pick(2) == 0) options.broker.retain_count = 1 + pick(6);
  if (pick(4) == 0) options.limits.out_queue_bytes = options.transport.out_queue_bytes = 2048;
  TransportFixture world(options);
  std::vector<std::unique_ptr<HopClient>> clients;
  for (const char* user : {"ann", "bob"}) clients.push_back(std::make_unique<HopClient>(world, random, user));
  std::map<std::string, int> published;
  for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
    switch (pick(6)) {
      case 0: {
        const std::string room = kRooms[pick(kRooms.size())];
        for (std::size_t n = 1 + pick(4); n != 0; --n) world.publish(stream_of(room, ""), ++published[room]);
        break;
      }
      case 1: {
        const std::string user = pick(2) == 0 ? "ann" : "bob";
        world.publish(stream_of("", user), ++published["@" + user]);
        break;
      }
      case 2:
        world.turn(static_cast<unsigned>(pick(world.pool.size())));
        break;
      case 3:
        // Now and then so long that lingering sessions end.
        world.advance_ms(pick(12) == 0 ? 31'000 : static_cast<std::int64_t>(pick(200)));
        break;
      default:
        clients[pick(clients.size())]->step();
    }
  }
  for (const auto& client : clients) {
    client->finish();
    totals.events += client->events;
    totals.repeats += client->repeats;
    totals.takeovers += client->takeovers;
    totals.losses_told += client->losses_told;
  }
}

// HUBBUB_SEED=n runs one schedule; HUBBUB_SCHEDULES=n another number of them.
TEST(TransportHop, SeesEachRetainedEventInOrderHoweverItHops) {
  Totals totals;
  if (const char* seed = std::getenv("HUBBUB_SEED")) {
    run_schedule(static_cast<unsigned>(std::strtoul(seed, nullptr, 10)), totals);
  } else {
    const char* wanted = std::getenv("HUBBUB_SCHEDULES");
    const unsigned schedules = wanted == nullptr ? 1000 : static_cast<unsigned>(std::strtoul(wanted, nullptr, 10));
    for (unsigned i = 1; i <= schedules; ++i) {
      run_schedule(i, totals);
      ASSERT_FALSE(HasFailure()) << "HUBBUB_SEED=" << i;
    }
    std::printf("seeds 1 to %u: %d events, %d repeats, %d takeovers, %d losses told\n", schedules, totals.events,
                totals.repeats, totals.takeovers, totals.losses_told);
    // A test in which nothing happens proves nothing.
    EXPECT_GT(totals.repeats, 0);
    EXPECT_GT(totals.takeovers, 0);
    EXPECT_GT(totals.losses_told, 0);
  }
}

}  // namespace
}  // namespace hubbub
