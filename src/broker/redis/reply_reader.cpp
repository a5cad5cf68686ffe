#include "hubbub/broker/redis/reply_reader.hpp"

#include <hiredis/hiredis.h>

#include <new>

namespace hubbub::broker::redis {

namespace {

redisReplyObjectFunctions defaults;  // hiredis keeps its own to itself, so they are taken from a reader

void* make_array(const redisReadTask* task, int elements) {
  auto& count = *static_cast<std::size_t*>(task->privdata);
  count += static_cast<std::size_t>(std::max(elements, 0));
  // hiredis allocates for what an array promises before any of it has come.
  if (count > ReplyReader::kElementsMax) return nullptr;
  return defaults.createArray(task, elements);
}

redisReplyObjectFunctions* bounded_functions() {
  static redisReplyObjectFunctions functions = [] {
    redisReader* reader = redisReaderCreate();
    if (reader == nullptr) throw std::bad_alloc();
    defaults = *reader->fn;
    redisReaderFree(reader);
    redisReplyObjectFunctions bounded = defaults;
    bounded.createArray = make_array;
    return bounded;
  }();
  return &functions;
}

}  // namespace

void ReplyReader::Free::operator()(redisReader* reader) const { redisReaderFree(reader); }

ReplyReader::ReplyReader() : reader_(redisReaderCreateWithFunctions(bounded_functions())) {
  if (!reader_) throw std::bad_alloc();
  reader_->privdata = &elements_;
}

ReplyReader::~ReplyReader() = default;

bool ReplyReader::feed(std::string_view chunk) {
  bytes_ += chunk.size();
  if (bytes_ > kReplyBytesMax) {
    problem_ = "a reply is too large";
  } else if (redisReaderFeed(reader_.get(), chunk.data(), chunk.size()) != REDIS_OK) {
    problem_ = reader_->errstr;
  }
  return problem_.empty();
}

bool ReplyReader::next(Reply& reply) {
  void* raw = nullptr;
  if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
    problem_ = elements_ > kElementsMax ? "a reply has too many elements" : reader_->errstr;
    if (problem_.empty()) problem_ = "broken";
    return false;
  }
  if (raw == nullptr) return false;
  reply = Reply::own(static_cast<redisReply*>(raw));
  elements_ = 0;
  bytes_ = reader_->len - reader_->pos;
  return true;
}

}  // namespace hubbub::broker::redis
