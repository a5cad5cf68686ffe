#include "hubbub/api/idempotency.hpp"

#include <iterator>
#include <utility>

namespace hubbub::api {

namespace {
constexpr unsigned kFirstFailure = 500;
}

std::size_t IdempotencyTable::cost(const Entry& entry) {
  return sizeof(Entry) + 64 + entry.key.capacity() + entry.response.body.capacity() +
         entry.response.extra_headers.capacity();
}

IdempotencyTable::Entry* IdempotencyTable::find(std::string_view key, std::int64_t now_ms) {
  while (!done_.empty() && now_ms - done_.front().done_ms >= window_ms_) forget(done_, done_.begin());
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &*found->second;
}

IdempotencyTable::Entry& IdempotencyTable::begin(std::string key) {
  Entry& entry = running_.emplace_back();
  entry.key = std::move(key);
  index_.emplace(entry.key, std::prev(running_.end()));
  return entry;
}

void IdempotencyTable::finish(Entry& entry, const transport::HttpResponse& response, std::int64_t now_ms) {
  const Entries::iterator place = index_.find(entry.key)->second;
  if (response.status >= kFirstFailure) return forget(running_, place);
  entry.done = true;
  entry.done_ms = now_ms;
  entry.response = response;
  done_.splice(done_.end(), running_, place);
  bytes_ += cost(entry);
  while (bytes_ > max_bytes_) forget(done_, done_.begin());
}

void IdempotencyTable::forget(Entries& in, Entries::iterator entry) {
  if (entry->done) bytes_ -= cost(*entry);
  index_.erase(entry->key);
  in.erase(entry);
}

}  // namespace hubbub::api
