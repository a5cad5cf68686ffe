#pragma once

#include <vector>

#include "hubbub/broker/redis/command.hpp"

namespace hubbub::broker::redis {

/// The scripts of src/broker/redis/lua, where each says what it takes and gives. One set a process. [any thread]
struct Scripts {
  Script publish, carry, head, read, erase;  // streams
  Script enter, leave, user, users, typing;  // who is where
  Script heartbeat;                          // nodes
  std::vector<const Script*> all() const;
};
const Scripts& scripts();

}  // namespace hubbub::broker::redis
