#include "hubbub/api/routes.hpp"

#include "hubbub/api/publish_routes.hpp"
#include "hubbub/api/room_routes.hpp"
#include "hubbub/api/status_routes.hpp"
#include "hubbub/api/user_routes.hpp"
#include "hubbub/transport/http_session.hpp"
#include "hubbub/transport/websocket_connection.hpp"

namespace hubbub::api {

void add_routes(ServerApi& api, bool echo) {
  transport::add_websocket_routes(api.context().router, echo);
  transport::add_http_session_routes(api.context().router);
  add_publish_routes(api);
  add_room_routes(api);
  add_user_routes(api);
  add_status_routes(api);
}

}  // namespace hubbub::api
