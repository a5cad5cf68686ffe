#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hubbub::runtime {

class BatchPool;

/// Bytes that one or many channels of a shard are to send: typically all frames that a room got in one turn, one behind
/// the other, so that each member needs one pointer and one send() however many messages came. Grows only during the
/// turn in which it was made. The count is not atomic: a batch never leaves its shard. [shard]
struct Batch {
  std::string bytes;
  std::uint32_t refs = 0;
  BatchPool* pool = nullptr;
};

/// Shares a batch within its shard.
class BatchRef {
 public:
  BatchRef() noexcept = default;
  explicit BatchRef(Batch* batch) noexcept : batch_(batch) { ++batch_->refs; }
  BatchRef(const BatchRef& other) noexcept : batch_(other.batch_) {
    if (batch_ != nullptr) ++batch_->refs;
  }
  BatchRef(BatchRef&& other) noexcept : batch_(std::exchange(other.batch_, nullptr)) {}
  BatchRef& operator=(BatchRef other) noexcept {
    std::swap(batch_, other.batch_);
    return *this;
  }
  ~BatchRef() {
    if (batch_ != nullptr && --batch_->refs == 0) release(batch_);
  }
  Batch* get() const noexcept { return batch_; }
  Batch* operator->() const noexcept { return batch_; }
  explicit operator bool() const noexcept { return batch_ != nullptr; }

 private:
  static void release(Batch* batch) noexcept;
  Batch* batch_ = nullptr;
};

/// Keeps a few batches with their capacity, so that a busy shard does not allocate a turn. Outlives its batches.
/// [shard]
class BatchPool {
 public:
  BatchPool() = default;
  BatchPool(const BatchPool&) = delete;
  BatchPool& operator=(const BatchPool&) = delete;
  ~BatchPool();
  BatchRef acquire();
  /// One without spare capacity, for what may stay for long.
  BatchRef acquire_small();

 private:
  friend class BatchRef;
  static constexpr std::size_t kMaxFree = 64;
  static constexpr std::size_t kMaxKeptBytes = 64 * 1024;
  void give_back(Batch* batch) noexcept;
  std::vector<Batch*> free_;
};

}  // namespace hubbub::runtime
