#include "hubbub/broker/redis/reply.hpp"

#include <hiredis/hiredis.h>

#include <charconv>

namespace hubbub::broker::redis {

namespace {

template <class Number>
Number parse(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? number : 0;
}

}  // namespace

Reply Reply::own(redisReply* reply) {
  Reply owner(reply);
  owner.owner_.reset(reply, [](redisReply* r) { freeReplyObject(r); });
  return owner;
}

Reply::Kind Reply::kind() const {
  if (reply_ == nullptr) return Kind::kNil;
  switch (reply_->type) {
    case REDIS_REPLY_STRING:
      return Kind::kText;
    case REDIS_REPLY_ARRAY:
      return Kind::kArray;
    case REDIS_REPLY_INTEGER:
      return Kind::kInteger;
    case REDIS_REPLY_STATUS:
      return Kind::kStatus;
    case REDIS_REPLY_ERROR:
      return Kind::kError;
    default:
      return Kind::kNil;
  }
}

std::int64_t Reply::integer() const { return kind() == Kind::kInteger ? reply_->integer : parse<std::int64_t>(text()); }

std::uint64_t Reply::number() const {
  if (kind() != Kind::kInteger) return parse<std::uint64_t>(text());
  return reply_->integer < 0 ? 0 : static_cast<std::uint64_t>(reply_->integer);
}

std::string_view Reply::text() const {
  switch (kind()) {
    case Kind::kText:
    case Kind::kStatus:
    case Kind::kError:
      return reply_->str == nullptr ? std::string_view{} : std::string_view(reply_->str, reply_->len);
    default:
      return {};
  }
}

std::size_t Reply::size() const { return kind() == Kind::kArray ? reply_->elements : 0; }

Reply Reply::operator[](std::size_t i) const { return i < size() ? Reply(reply_->element[i]) : Reply(); }

}  // namespace hubbub::broker::redis
