#include "hubbub/runtime/out_queue.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace hubbub::runtime {

namespace {
// An offset is 31 bits; a private batch stops growing long before.
constexpr std::size_t kMaxOwnBatchBytes = 1024 * 1024;
constexpr std::size_t kCompactAt = 64;
// What a waiting slice may keep alive: copying costs no more than its bytes, which are few then.
constexpr std::size_t kSmallSliceBytes = 1024;
constexpr std::size_t kMaxPinned = 16;  // times its own size
}  // namespace

OutQueue::Slice* OutQueue::back() {
  if (rest_) return &rest_->slices.back();
  return first_.batch ? &first_ : nullptr;
}

void OutQueue::push(BatchRef batch, std::uint32_t begin, std::uint32_t end) {
  Slice slice{std::move(batch), begin & 0x7fffffffU, 0, end};
  if (end != kOpenEnd) bytes_ += slice.size();
  if (!first_.batch) {
    first_ = std::move(slice);
    return;
  }
  if (!rest_) rest_ = std::make_unique<Rest>();
  rest_->slices.push_back(std::move(slice));
}

void OutQueue::append(std::string_view bytes, BatchPool& pool) {
  Slice* last = back();
  if (last == nullptr || !last->own || last->batch->bytes.size() + bytes.size() > kMaxOwnBatchBytes) {
    push(pool.acquire(), 0, 0);
    last = back();
    last->own = 1;
  }
  last->batch->bytes.append(bytes);
  last->end += static_cast<std::uint32_t>(bytes.size());
  bytes_ += static_cast<std::uint32_t>(bytes.size());
}

void OutQueue::settle(Slice& slice) {
  if (slice.end != kOpenEnd) return;
  slice.end = static_cast<std::uint32_t>(slice.batch->bytes.size());
  bytes_ += slice.size();
}

void OutQueue::settle() {
  if (first_.batch) settle(first_);
  if (!rest_) return;
  for (std::size_t i = std::max(rest_->settled, rest_->head); i < rest_->slices.size(); ++i) settle(rest_->slices[i]);
  rest_->settled = rest_->slices.size();
}

void OutQueue::settle_waiting(BatchPool& pool) {
  if (first_.batch) {
    settle(first_);
    // Also a batch of its own: it may have shrunk to its last bytes.
    if (first_.batch->bytes.capacity() > kMaxPinned * first_.size() + kSmallSliceBytes) make_own(first_, pool);
  }
  if (!rest_) return;
  auto& slices = rest_->slices;
  std::size_t kept = std::max(rest_->settled, rest_->head);
  for (std::size_t i = kept; i < slices.size(); ++i) {
    settle(slices[i]);
    if (move_behind(kept == rest_->head ? first_ : slices[kept - 1], slices[i], pool)) continue;
    if (kept != i) slices[kept] = std::move(slices[i]);
    ++kept;
  }
  slices.resize(kept);
  rest_->settled = kept;
  if (kept == rest_->head) rest_.reset();
}

void OutQueue::unpin(BatchPool& pool) {
  if (rest_) rest_->settled = rest_->head;
  settle_waiting(pool);
}

/// True when the slice's bytes are in the batch of the one before it now.
bool OutQueue::move_behind(Slice& before, Slice& slice, BatchPool& pool) {
  const std::size_t size = slice.size();
  if (size == 0) return true;
  if (size > kSmallSliceBytes && size * kMaxPinned >= slice.batch->bytes.capacity()) return false;
  // What is sent in part stays a slice by itself: it is all that drop_unsent keeps.
  const bool sent_in_part = &before == &first_ && mid_slice_;
  if (before.own == 0 || sent_in_part || before.batch->bytes.size() + size > kMaxOwnBatchBytes) {
    make_own(slice, pool);
    return false;
  }
  before.batch->bytes.append(slice.batch->bytes, slice.begin, size);
  before.end += static_cast<std::uint32_t>(size);
  return true;
}

void OutQueue::make_own(Slice& slice, BatchPool& pool) {
  BatchRef own = pool.acquire_small();
  own->bytes.assign(slice.batch->bytes, slice.begin, slice.size());
  const std::uint32_t size = slice.size();
  slice.batch = std::move(own);
  slice.begin = 0;
  slice.end = size;
  slice.own = 1;
}

void OutQueue::close(Slice& slice, const Batch* batch) {
  if (slice.batch.get() == batch) settle(slice);
}

void OutQueue::close_open_slice(const Batch* batch) {
  if (first_.batch) close(first_, batch);
  if (!rest_) return;
  for (std::size_t i = std::max(rest_->settled, rest_->head); i < rest_->slices.size(); ++i) {
    close(rest_->slices[i], batch);
  }
}

std::size_t OutQueue::gather(iovec* out, std::size_t max) const {
  std::size_t n = 0;
  const auto add = [&](const Slice& slice) {
    if (slice.size() != 0) out[n++] = {slice.batch->bytes.data() + slice.begin, slice.size()};
  };
  if (first_.batch) add(first_);
  if (rest_) {
    for (std::size_t i = rest_->head; i < rest_->slices.size() && n < max; ++i) add(rest_->slices[i]);
  }
  return n;
}

void OutQueue::consume(std::size_t n) {
  bytes_ -= static_cast<std::uint32_t>(n);
  while (first_.batch) {
    const std::size_t left = first_.size();
    if (n < left) {
      if (n != 0) mid_slice_ = true;
      first_.begin = static_cast<std::uint32_t>(first_.begin + n) & 0x7fffffffU;
      return;
    }
    n -= left;
    mid_slice_ = false;
    if (!rest_) {
      first_ = Slice{};
      return;
    }
    first_ = std::move(rest_->slices[rest_->head++]);
    if (rest_->head == rest_->slices.size()) {
      rest_.reset();
    } else if (rest_->head >= kCompactAt && rest_->head * 2 >= rest_->slices.size()) {
      rest_->slices.erase(rest_->slices.begin(), rest_->slices.begin() + static_cast<std::ptrdiff_t>(rest_->head));
      rest_->settled -= std::min(rest_->settled, rest_->head);
      rest_->head = 0;
    }
  }
}

void OutQueue::clear() {
  first_ = Slice{};
  rest_.reset();
  bytes_ = 0;
  mid_slice_ = false;
}

void OutQueue::drop_unsent() {
  if (!mid_slice_) {
    clear();
    return;
  }
  first_.own = 0;
  rest_.reset();
  bytes_ = first_.size();
}

}  // namespace hubbub::runtime
