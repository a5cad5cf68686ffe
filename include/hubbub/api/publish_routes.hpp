#pragma once

#include "hubbub/api/server_api.hpp"

namespace hubbub::api {

/// What stores or sends events: `/notify`, `/send`, messages to rooms and users, `/api/broadcast`, `/api/batch`.
void add_publish_routes(ServerApi& api);

}  // namespace hubbub::api
