#pragma once

#include "hubbub/api/server_api.hpp"

namespace hubbub::api {

/// `GET /` (name and version), `GET /healthz` (the process runs), `GET /readyz` (it takes traffic; 503 while it stops)
/// and `GET /api/stats` (counters of all shards).
void add_status_routes(ServerApi& api);

}  // namespace hubbub::api
