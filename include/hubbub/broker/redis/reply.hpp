#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

struct redisReply;

namespace hubbub::broker::redis {

/// What Redis answered; a view of it when it is an element of another, which must outlive it. Asking it for what it is
/// not gives nothing (0, an empty text, no elements): a reply is not trusted more than any other input.
class Reply {
 public:
  enum class Kind : std::uint8_t { kNil, kInteger, kText, kStatus, kError, kArray };

  Reply() = default;
  /// Takes what hiredis' reader made.
  static Reply own(redisReply* reply);

  Kind kind() const;
  bool is_nil() const { return kind() == Kind::kNil; }
  std::int64_t integer() const;           ///< kInteger, or a text that is one
  std::uint64_t number() const;           ///< as integer(), without a sign
  std::string_view text() const;          ///< kText, kStatus, kError
  std::size_t size() const;               ///< kArray
  Reply operator[](std::size_t i) const;  ///< kNil when there is none

 private:
  explicit Reply(const redisReply* view) : reply_(view) {}
  std::shared_ptr<redisReply> owner_;
  const redisReply* reply_ = nullptr;
};

}  // namespace hubbub::broker::redis
