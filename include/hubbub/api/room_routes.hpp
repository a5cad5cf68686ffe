#pragma once

#include "hubbub/api/server_api.hpp"

namespace hubbub::api {

/// `/api/rooms`: what rooms there are, who is in them, what they said; and who comes and goes by a backend's will.
void add_room_routes(ServerApi& api);

}  // namespace hubbub::api
