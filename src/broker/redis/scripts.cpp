#include "hubbub/broker/redis/scripts.hpp"

#include <hubbub_lua.hpp>  // made from src/broker/redis/lua by CMake
#include <string>
#include <string_view>

namespace hubbub::broker::redis {

namespace {

Script script(std::string_view name, std::string_view source) {
  std::string whole(lua::kLib);
  whole.append(source);
  return make_script(name, whole);
}

}  // namespace

std::vector<const Script*> Scripts::all() const {
  return {&publish, &carry, &head, &read, &erase, &enter, &leave, &user, &users, &typing, &heartbeat};
}

const Scripts& scripts() {
  static const Scripts all{
      script("publish", lua::kPublish), script("carry", lua::kCarry),        script("head", lua::kHead),
      script("read", lua::kRead),       script("erase", lua::kErase),        script("enter", lua::kEnter),
      script("leave", lua::kLeave),     script("user", lua::kUser),          script("users", lua::kUsers),
      script("typing", lua::kTyping),   script("heartbeat", lua::kHeartbeat)};
  return all;
}

}  // namespace hubbub::broker::redis
