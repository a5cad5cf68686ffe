#pragma once

#include "hubbub/base/result.hpp"

namespace hubbub::broker::redis {

enum class RedisError {
  kUnavailable = 1,  ///< no answer in time; it may have been carried out
  kOverloaded,       ///< too much waits already
  kServer,           ///< Redis answered with an error
  kAborted           ///< unsubscribed, or the client ends
};

base::error_code make_error_code(RedisError error);

}  // namespace hubbub::broker::redis

template <>
struct boost::system::is_error_code_enum<hubbub::broker::redis::RedisError> : std::true_type {};
