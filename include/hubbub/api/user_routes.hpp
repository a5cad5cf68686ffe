#pragma once

#include "hubbub/api/server_api.hpp"

namespace hubbub::api {

/// `/api/users` and `/api/presence`: who is online, how, and with which sessions; and the end of those.
void add_user_routes(ServerApi& api);

}  // namespace hubbub::api
