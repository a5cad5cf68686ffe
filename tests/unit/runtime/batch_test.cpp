#include "hubbub/runtime/batch.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace hubbub::runtime {
namespace {

TEST(Batch, GoesBackWithItsLastReaderAndKeepsItsCapacity) {
  BatchPool pool;
  BatchRef first = pool.acquire();
  Batch* const batch = first.get();
  first->bytes = std::string(1000, 'x');
  BatchRef second = first;
  EXPECT_EQ(batch->refs, 2U);
  first = BatchRef{};
  EXPECT_EQ(batch->refs, 1U);
  const BatchRef third = std::move(second);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move)
  EXPECT_NE(pool.acquire().get(), batch);
  EXPECT_EQ(third.get(), batch);
}

TEST(Batch, IsEmptyWhenItIsUsedAgain) {
  BatchPool pool;
  Batch* batch = nullptr;
  {
    const BatchRef used = pool.acquire();
    batch = used.get();
    used->bytes = std::string(1000, 'x');
  }
  const BatchRef again = pool.acquire();
  EXPECT_EQ(again.get(), batch);
  EXPECT_TRUE(again->bytes.empty());
  EXPECT_GE(again->bytes.capacity(), 1000U);
  EXPECT_LT(pool.acquire_small()->bytes.capacity(), 100U);
}

TEST(Batch, IsNotKeptWhenItHasGrownLarge) {
  BatchPool pool;
  { pool.acquire()->bytes.reserve(1024 * 1024); }
  EXPECT_LT(pool.acquire()->bytes.capacity(), 100U);
}

}  // namespace
}  // namespace hubbub::runtime
