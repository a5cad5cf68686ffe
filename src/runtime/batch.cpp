#include "hubbub/runtime/batch.hpp"

namespace hubbub::runtime {

void BatchRef::release(Batch* batch) noexcept { batch->pool->give_back(batch); }

BatchPool::~BatchPool() {
  for (Batch* batch : free_) delete batch;
}

BatchRef BatchPool::acquire() {
  if (free_.empty()) return acquire_small();
  Batch* batch = free_.back();
  free_.pop_back();
  return BatchRef(batch);
}

BatchRef BatchPool::acquire_small() {
  auto* batch = new Batch;
  batch->pool = this;
  return BatchRef(batch);
}

void BatchPool::give_back(Batch* batch) noexcept {
  if (free_.size() >= kMaxFree || batch->bytes.capacity() > kMaxKeptBytes) {
    delete batch;
    return;
  }
  batch->bytes.clear();
  try {
    free_.push_back(batch);
  } catch (...) {
    delete batch;
  }
}

}  // namespace hubbub::runtime
