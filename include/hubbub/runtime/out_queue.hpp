#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "hubbub/runtime/batch.hpp"

namespace hubbub::runtime {

/// What a channel still has to send: slices of batches in order. Holds one slice without a heap block, which is all
/// that a channel that keeps up ever needs. [shard]
class OutQueue {
 public:
  /// An end not known yet: all that the batch has when it is sealed at the end of the turn.
  static constexpr std::uint32_t kOpenEnd = std::numeric_limits<std::uint32_t>::max();

  bool empty() const { return !first_.batch; }

  /// Bytes waiting, without what was pushed with an open end since the last settle().
  std::size_t bytes() const { return bytes_; }

  void push(BatchRef batch, std::uint32_t begin, std::uint32_t end = kOpenEnd);
  /// Copies `bytes` behind all else, into the private batch at the end of the queue if there is one.
  void append(std::string_view bytes, BatchPool& pool);
  /// Ends the open slice of `batch` at its present size (its reader leaves the room in mid-turn).
  void close_open_slice(const Batch* batch);

  /// Fixes open ends: the turn's batches are complete.
  void settle();
  /// As settle, for a reader that is blocked and may stay so: what is new and small goes to a batch of the queue's own,
  /// so that the memory it keeps is in proportion to what waits for it, not to what its rooms were sent in a turn.
  void settle_waiting(BatchPool& pool);
  /// The same for all that there is: the reader has become blocked.
  void unpin(BatchPool& pool);
  /// Fills `out` with what can be sent next; returns the number of entries. After settle().
  std::size_t gather(iovec* out, std::size_t max) const;
  /// Drops the first `n` bytes.
  void consume(std::size_t n);
  void clear();
  /// Drops all that can go without cutting a frame in two: everything, or all behind the slice that was sent in part.
  void drop_unsent();

 private:
  struct Slice {
    BatchRef batch;
    std::uint32_t begin : 31 = 0;
    std::uint32_t own : 1 = 0;  // nobody else reads this batch, so it may still be appended to
    std::uint32_t end = kOpenEnd;
    std::uint32_t size() const { return end - begin; }
  };
  struct Rest {
    std::vector<Slice> slices;
    std::size_t head = 0;
    std::size_t settled = 0;  // slices before it have their end
  };
  void settle(Slice& slice);
  bool move_behind(Slice& before, Slice& slice, BatchPool& pool);
  void make_own(Slice& slice, BatchPool& pool);
  void close(Slice& slice, const Batch* batch);
  Slice* back();

  Slice first_;
  std::uint32_t bytes_ = 0;
  bool mid_slice_ = false;
  std::unique_ptr<Rest> rest_;
};

}  // namespace hubbub::runtime
