#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "support/transport_fixture.hpp"

// One polls by cursor while answers are lost at random. What is for its session alone must come in order and without a
// gap: again when its answer was lost, and only then.
namespace hubbub {
namespace {

using test::Json;
using test::Response;
using test::Socket;
using test::TransportFixture;
using test::TransportFixtureOptions;

constexpr int kSteps = 150;

struct Totals {
  int answers = 0, losses = 0, repeats = 0;
};

class PollLoss {
 public:
  PollLoss(unsigned seed, Totals& totals) : totals_(totals), random_(seed), world_(options()) {
    bob_.emplace(world_.connect(0));
    bob_->send(test::websocket_request("/ws/bob"));
    world_.settle();
  }

  void run() {
    poll(0);
    take();  // nobody can ask again for an answer to a poll that had no cursor
    for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
      switch (pick(7)) {
        case 0:
          signal();
          break;
        case 1:
          order();
          break;
        case 2:
          world_.publish({broker::StreamKind::kInbox, base::SharedString("ann")}, ++published_);
          world_.settle();
          break;
        case 3:
          lose();
          break;
        default:
          if (!polling_) poll(pick(2) == 0 ? 0 : 20);
          if (pick(3) != 0) take();
      }
    }
    for (int i = 0; i < 3; ++i) {
      if (!polling_) poll(0);
      take();
    }
    EXPECT_EQ(next_, told_.size());
    EXPECT_EQ(seen_, published_);
  }

 private:
  TransportFixtureOptions options() {
    TransportFixtureOptions options;
    options.shards = static_cast<unsigned>(1 + pick(3));
    return options;
  }
  std::size_t pick(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }

  void signal() {
    const std::string name = "signal " + std::to_string(told_.size());
    told_.push_back(name);
    bob_->send(test::client_frame(Json{{"type", "signal"}, {"to_user", "ann"}, {"data", name}}.dump()));
    world_.settle();
  }

  /// Into a new room, or out of it again.
  void order() {
    using What = hub::SessionOrder::What;
    const bool in = room_.empty();
    if (in) room_ = "room " + std::to_string(told_.size());
    told_.push_back((in ? "joined " : "removed ") + room_);
    world_.manager.order_sessions(0, base::SharedString("ann"),
                                  {in ? What::kJoin : What::kLeave, base::SharedString(room_)},
                                  [](const base::Result<std::size_t>& count) { EXPECT_EQ(*count, 1U); });
    if (!in) room_.clear();
    world_.settle();
  }

  void poll(int timeout_s) {
    if (!socket_) socket_.emplace(world_.connect(static_cast<unsigned>(pick(world_.pool.size()))));
    polling_ = true;
    socket_->send("GET /poll/ann?timeout=" + std::to_string(timeout_s) + (cursor_.empty() ? "" : "&cursor=" + cursor_) +
                  " HTTP/1.1\r\nHost: x\r\n\r\n");
    if (pick(4) != 0) world_.settle();
  }

  /// The connection goes, perhaps with an answer, or a part of it, on its way.
  void lose() {
    if (!socket_) return;
    if (pick(2) == 0) socket_->read(pick(200));
    socket_.reset();
    if (polling_) {
      lost_ = true;
      ++totals_.losses;
    }
    polling_ = false;
    if (pick(3) != 0) world_.settle();
  }

  void take() {
    if (!polling_) return;
    for (int i = 0; i < 3; ++i) {
      world_.settle();
      socket_->read();
      Response response;
      if (test::take_response(socket_->bytes(), response)) return answered(response);
      // A wait of 0 may take a moment; what waits longer is given something to tell.
      world_.advance_ms(150);
      if (i == 1) signal();
    }
    FAIL() << "no answer";
  }

  void answered(const Response& response) {
    polling_ = false;
    if (response.status == 409) {  // an older poll was on a longer way, and came last
      lost_ = true;
      return;
    }
    ASSERT_EQ(response.status, 200) << response.body;
    ++totals_.answers;
    const Json answer = Json::parse(response.body);
    std::vector<std::string> told;
    for (const Json& event : answer["messages"]) {
      const std::string type = event["type"];
      if (type == "signal") told.push_back(event["data"]);
      if (type == "joined" && !event.contains("already"))
        told.push_back("joined " + event["room_id"].get<std::string>());
      if (type == "removed") told.push_back("removed " + event["room_id"].get<std::string>());
      ASSERT_NE(type, "error") << event;
      if (type != "direct_message") continue;
      const auto seq = event["seq"].get<int>();
      EXPECT_TRUE(seq == seen_ + 1 || (lost_ && seq <= seen_)) << seq << " after " << seen_;
      seen_ = seq;
    }
    if (!told.empty()) {
      const auto first = std::find(told_.begin(), told_.end(), told.front());
      ASSERT_NE(first, told_.end()) << told.front();
      const auto at = static_cast<std::size_t>(first - told_.begin());
      EXPECT_LE(at, next_) << "something was left out before " << told.front();
      EXPECT_TRUE(lost_ || at == next_) << told.front() << " came again though nothing was lost";
      ASSERT_LE(at + told.size(), told_.size());
      EXPECT_TRUE(std::equal(told.begin(), told.end(), first)) << response.body;
      if (at < next_) ++totals_.repeats;
      next_ = std::max(next_, at + told.size());
    }
    lost_ = false;
    cursor_ = answer["cursor"];
  }

  Totals& totals_;
  std::mt19937 random_;
  TransportFixture world_;
  std::optional<Socket> bob_;
  std::optional<Socket> socket_;
  std::string cursor_;
  bool polling_ = false;
  bool lost_ = false;              // since the last answer
  std::vector<std::string> told_;  // what was for ann's session alone
  std::size_t next_ = 0;           // of these, the first that she has not seen
  std::string room_;
  int published_ = 0;
  int seen_ = 0;
};

// HUBBUB_SEED=n runs one schedule.
TEST(PollLoss, GivesAgainWhatWasForTheSessionAlone) {
  Totals totals;
  const char* seed = std::getenv("HUBBUB_SEED");
  const unsigned first = seed == nullptr ? 1 : static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
  const unsigned last = seed == nullptr ? 300 : first;
  for (unsigned i = first; i <= last; ++i) {
    PollLoss(i, totals).run();
    ASSERT_FALSE(HasFailure()) << "HUBBUB_SEED=" << i;
  }
  std::printf("%d answers, %d losses, %d with repeats\n", totals.answers, totals.losses, totals.repeats);
  EXPECT_GT(totals.losses, 0);
}

}  // namespace
}  // namespace hubbub
