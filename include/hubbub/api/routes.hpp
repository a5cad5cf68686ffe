#pragma once

#include "hubbub/api/server_api.hpp"

namespace hubbub::api {

/// All that the server serves; docs/openapi.yaml describes it, and a test compares the two. With `echo` also `/echo`,
/// for conformance suites.
void add_routes(ServerApi& api, bool echo);

}  // namespace hubbub::api
