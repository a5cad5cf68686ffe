#include "hubbub/api/status_routes.hpp"

#include <nlohmann/json.hpp>

#include "hubbub/hub/session_shard.hpp"
#include "hubbub/transport/http_connection.hpp"

namespace hubbub::api {

using transport::HttpConnection;
using transport::HttpRequest;
using transport::TransportContext;

namespace {

nlohmann::json stats_of(TransportContext& context) {
  hub::ConnectionManager& manager = context.manager;
  nlohmann::json shards = nlohmann::json::array();
  nlohmann::json total = nlohmann::json::object();
  std::size_t connections = 0;
  for (unsigned i = 0; i < manager.shards().size(); ++i) {
    const hub::Counters& counters = manager.counters(i);
    const nlohmann::json row = {
        {"sessions", counters.sessions.get()},
        {"commands", counters.commands.get()},
        {"command_errors", counters.command_errors.get()},
        {"deliveries", counters.deliveries.get()},
        {"ephemera_dropped",
         counters.ephemera_dropped.get() + manager.sessions(manager.shards()[i]).dropped_at_mailbox()},
        {"ephemera_conflated", counters.ephemera_conflated.get()},
        {"lags", counters.lags.get()},
        {"refills", counters.refills.get()},
        {"gaps", counters.gaps.get()},
        {"slow_consumers_closed", counters.slow_closed.get()},
        {"rate_limited", counters.rate_limited.get()},
        {"waiting_polls", context.transports[i]->waiting_polls()},
    };
    for (const auto& [key, value] : row.items())
      total[key] = total.value(key, std::uint64_t{0}) + value.get<std::uint64_t>();
    connections += manager.shards()[i].connection_count().load(std::memory_order_relaxed);
    shards.push_back(row);
  }
  total["connections"] = connections;
  total["waiting_reports"] = manager.reports_waiting().load(std::memory_order_relaxed);
  return {{"server_id", manager.limits().server_id}, {"total", total}, {"shards", shards}};
}

}  // namespace

void add_status_routes(ServerApi& api) {
  TransportContext& context = api.context();
  transport::Router& router = context.router;
  router.add({"GET", "/", [](HttpConnection& connection, const HttpRequest&) {
                connection.respond({.body = R"({"name":"hubbub","version":")" HUBBUB_VERSION R"("})"});
              }});
  router.add({"GET", "/healthz", [](HttpConnection& connection, const HttpRequest&) {
                connection.respond({.body = R"({"status":"ok"})"});
              }});
  router.add({"GET", "/readyz", [&context](HttpConnection& connection, const HttpRequest&) {
                if (context.stopping.load()) {
                  connection.respond({.status = 503, .body = R"({"status":"stopping"})"});
                } else if (!context.manager.is_ready()) {
                  connection.respond({.status = 503, .body = R"({"status":"broker_unavailable"})"});
                } else {
                  connection.respond({.body = R"({"status":"ready"})"});
                }
              }});
  api.add("GET", "/api/stats", [](Call& call) { call.respond({.body = stats_of(call.context()).dump()}); });
}

}  // namespace hubbub::api
