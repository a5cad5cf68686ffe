#include "hubbub/runtime/out_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace hubbub::runtime {
namespace {

class OutQueueTest : public testing::Test {
 protected:
  BatchRef batch_of(std::string_view bytes) {
    BatchRef batch = pool.acquire();
    batch->bytes = bytes;
    return batch;
  }
  /// What it would send now, all of it.
  std::string waiting() {
    std::string all;
    std::array<iovec, 4096> pieces;
    const std::size_t count = queue.gather(pieces.data(), pieces.size());
    for (std::size_t i = 0; i < count; ++i) {
      all.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
    }
    return all;
  }
  std::size_t pieces() {
    std::array<iovec, 4096> all;
    return queue.gather(all.data(), all.size());
  }

  BatchPool pool;
  OutQueue queue;
};

TEST_F(OutQueueTest, IsEmptyAtFirst) {
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0U);
  EXPECT_EQ(waiting(), "");
}

TEST_F(OutQueueTest, SendsAnOpenSliceUpToWhatItsBatchHoldsWhenSettled) {
  const BatchRef batch = batch_of("before ");
  queue.push(batch, 7);
  batch->bytes += "one ";
  EXPECT_EQ(queue.bytes(), 0U);
  batch->bytes += "two";
  queue.settle();
  EXPECT_EQ(queue.bytes(), 7U);
  batch->bytes += " later";
  queue.settle();
  EXPECT_EQ(waiting(), "one two");
}

TEST_F(OutQueueTest, EndsAnOpenSliceWhereItIsClosed) {
  const BatchRef batch = batch_of("a");
  const BatchRef other = batch_of("x");
  queue.push(other, 0);
  queue.push(batch, 0);
  queue.close_open_slice(batch.get());
  batch->bytes += "b";
  other->bytes += "y";
  queue.settle();
  EXPECT_EQ(waiting(), "xya");
}

TEST_F(OutQueueTest, KeepsTheOrderOfSharedAndOwnBytes) {
  queue.append("1", pool);
  queue.push(batch_of("2"), 0);
  queue.append("3", pool);
  queue.append("4", pool);
  queue.push(batch_of("-56-"), 1, 3);
  queue.settle();
  EXPECT_EQ(waiting(), "123456");
  EXPECT_EQ(queue.bytes(), 6U);
  EXPECT_EQ(pieces(), 4U);  // what is appended in a row is one piece
}

TEST_F(OutQueueTest, ConsumesWithinAndAcrossSlices) {
  for (const char* bytes : {"abc", "def", "ghi"}) queue.push(batch_of(bytes), 0);
  queue.settle();
  queue.consume(1);
  EXPECT_EQ(waiting(), "bcdefghi");
  queue.consume(3);
  EXPECT_EQ(waiting(), "efghi");
  EXPECT_EQ(queue.bytes(), 5U);
  queue.consume(5);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0U);
}

TEST_F(OutQueueTest, DropsAllThatWasNotBegun) {
  queue.push(batch_of("abc"), 0);
  queue.push(batch_of("def"), 0);
  queue.settle();
  queue.drop_unsent();
  EXPECT_TRUE(queue.empty());
  queue.push(batch_of("abc"), 0);
  queue.push(batch_of("def"), 0);
  queue.settle();
  queue.consume(1);
  queue.drop_unsent();
  EXPECT_EQ(waiting(), "bc");
  EXPECT_EQ(queue.bytes(), 2U);
  queue.append("close", pool);
  EXPECT_EQ(waiting(), "bcclose");
}

// A reader that does not read kept a batch of 64 KiB alive for each few bytes of a turn.
TEST_F(OutQueueTest, LetsGoOfSharedBatchesWhenSmallPiecesWait) {
  std::vector<BatchRef> shared;
  for (int n = 0; n < 100; ++n) {
    shared.push_back(batch_of("<" + std::to_string(n) + ">"));
    shared.back()->bytes.reserve(64 * 1024);
    queue.push(shared.back(), 0);
    if (n == 0) {
      queue.settle();
      queue.consume(1);
      queue.unpin(pool);
    } else {
      queue.settle_waiting(pool);
    }
    EXPECT_EQ(shared.back()->refs, 1U);
  }
  std::string expected = "0>";
  for (int n = 1; n < 100; ++n) expected += "<" + std::to_string(n) + ">";
  EXPECT_EQ(waiting(), expected);
  EXPECT_EQ(queue.bytes(), expected.size());
  EXPECT_EQ(pieces(), 2U);
}

TEST_F(OutQueueTest, SharesLargePiecesThatWait) {
  const BatchRef batch = batch_of(std::string(10'000, 'x'));
  queue.push(batch, 0);
  queue.settle();
  queue.unpin(pool);
  EXPECT_EQ(batch->refs, 2U);
}

TEST_F(OutQueueTest, LetsGoOfALargeBatchOfWhichLittleIsLeft) {
  const BatchRef batch = batch_of(std::string(1'000'000, 'x') + "end");
  queue.push(batch, 0);
  queue.settle();
  queue.consume(1'000'000);
  queue.settle_waiting(pool);
  EXPECT_EQ(batch->refs, 1U);
  EXPECT_EQ(waiting(), "end");
  queue.drop_unsent();
  EXPECT_EQ(waiting(), "end");  // begun
}

TEST_F(OutQueueTest, SendsTheSameBytesWhateverHappensToThem) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string expected;
    std::string sent;
    bool blocked = false;
    for (int turn = 0; turn < 300; ++turn) {
      BatchRef open;
      for (unsigned i = random() % 5; i != 0; --i) {
        const std::string bytes(1 + random() % (random() % 8 == 0 ? 5000 : 200),
                                static_cast<char>('a' + random() % 26));
        if (random() % 2 == 0) {
          queue.append(bytes, pool);
        } else {
          open = batch_of("skipped" + bytes);
          queue.push(open, 7);
        }
        expected += bytes;
      }
      if (queue.empty()) continue;
      blocked ? queue.settle_waiting(pool) : queue.settle();
      ASSERT_EQ(queue.bytes(), expected.size() - sent.size());
      if (random() % 3 == 0) continue;
      const std::string all = waiting();
      const std::size_t n = std::min<std::size_t>(all.size(), random() % 4000);
      sent += all.substr(0, n);
      queue.consume(n);
      if (!blocked && !queue.empty()) queue.unpin(pool);
      blocked = !queue.empty();
    }
    if (!queue.empty()) {
      queue.settle();
      sent += waiting();
      queue.clear();
    }
    ASSERT_EQ(sent, expected);
  }
}

}  // namespace
}  // namespace hubbub::runtime
