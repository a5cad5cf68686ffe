#include "hubbub/broker/redis/errors.hpp"

#include <string>

namespace hubbub::broker::redis {

namespace {

class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "hubbub.redis"; }
  std::string message(int value) const override {
    switch (static_cast<RedisError>(value)) {
      case RedisError::kUnavailable:
        return "no answer from Redis in time";
      case RedisError::kOverloaded:
        return "too many commands wait for Redis";
      case RedisError::kServer:
        return "Redis answered with an error";
      case RedisError::kAborted:
        return "no longer wanted";
    }
    return "unknown error";
  }
};

}  // namespace

base::error_code make_error_code(RedisError error) {
  static const Category category;
  return {static_cast<int>(error), category};
}

}  // namespace hubbub::broker::redis
