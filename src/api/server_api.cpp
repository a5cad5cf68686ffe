#include "hubbub/api/server_api.hpp"

#include <algorithm>
#include <utility>

#include "hubbub/protocol/event.hpp"
#include "hubbub/protocol/identifier.hpp"
#include "hubbub/protocol/json.hpp"

namespace hubbub::api {

using protocol::ErrorCode;
using transport::error_response;
using transport::HttpConnection;
using transport::HttpRequest;
using transport::HttpResponse;

namespace {

constexpr std::size_t kIdempotencyKeyMaxBytes = 255;
constexpr std::string_view kRepeated = "Idempotent-Replayed: true\r\n";

std::string presented_key(const HttpRequest& request) {
  std::string key = request.header("X-API-Key");
  if (!key.empty()) return key;
  const std::string authorization = request.header("Authorization");
  static constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return key;
  const bool bearer = std::equal(kScheme.begin(), kScheme.end(), authorization.begin(),
                                 [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? char(b + 32) : b); });
  return bearer ? authorization.substr(
                      std::min(authorization.find_first_not_of(' ', kScheme.size()), authorization.size()))
                : key;
}

}  // namespace

void append_error(std::string& out, ErrorCode code, std::string_view message) {
  std::string whole;
  protocol::append_http_error(whole, code, message);
  out.append(whole, 1, whole.size() - 2);
}

void send_unavailable(const Reply& reply) { reply.send(error_response(ErrorCode::kBrokerUnavailable)); }

void send_sessions(const Reply& reply, const base::Result<std::size_t>& count) {
  if (!count) return send_unavailable(reply);
  reply.send({.body = "{\"sessions\":" + std::to_string(*count) + "}"});
}

// ---------------------------------------------------------------------------------------------------------------- Call

transport::TransportContext& Call::context() const { return api_.context(); }
hub::ConnectionManager& Call::manager() const { return api_.context().manager; }
const ServerApiOptions& Call::options() const { return api_.options(); }

void Call::respond(const HttpResponse& response) {
  if (once_ != nullptr) api_.finish_once(*std::exchange(once_, nullptr), response, shard());
  connection_.respond(response);
}

void Call::refuse(ErrorCode code, std::string_view message) { respond(error_response(code, message)); }

Reply Call::defer() { return {&api_, connection_.defer(), std::exchange(once_, nullptr)}; }

void Call::abandon() {
  if (once_ != nullptr) api_.finish_once(*std::exchange(once_, nullptr), error_response(ErrorCode::kInternal), shard());
}

std::optional<base::SharedString> Call::id(std::size_t segment, std::string_view name) {
  const std::optional<std::string> text = transport::percent_decode(request_.segment(segment));
  if (text && protocol::is_valid_identifier(*text)) return base::SharedString(*text);
  refuse(ErrorCode::kBadRequest,
         "The " + std::string(name) + " id must be 1 to 256 bytes of UTF-8 without control characters.");
  return std::nullopt;
}

std::optional<std::uint64_t> Call::number(std::string_view name, std::uint64_t by_default, std::uint64_t min,
                                          std::uint64_t max) {
  bool given = false;
  std::optional<std::uint64_t> number;
  transport::for_each_query_value(request_.target().query, name, [&](const std::optional<std::string>& text) {
    if (!std::exchange(given, true) && text) number = protocol::parse_uint64(*text);
  });
  if (!given) return by_default;
  if (number && *number >= min && *number <= max) return number;
  refuse(ErrorCode::kBadRequest, std::string(name) + " must be a whole number from " + std::to_string(min) + " to " +
                                     std::to_string(max) + ".");
  return std::nullopt;
}

std::optional<hub::PageRequest> Call::page() {
  const auto limit = number("limit", kPageLimitDefault, 1, kPageLimitMax);
  if (!limit) return std::nullopt;
  return hub::PageRequest{transport::query_value(request_.target().query, "after").value_or(""),
                          static_cast<std::size_t>(*limit)};
}

void Reply::send(const HttpResponse& response) const {
  if (once != nullptr) api->finish_once(*once, response, to.shard);
  api->context().transports[to.shard]->answer(to.id, response);
}

// ----------------------------------------------------------------------------------------------------------- ServerApi

ServerApi::ServerApi(transport::TransportContext& context, ServerApiOptions options)
    : context_(context), options_(std::move(options)), keys_(options_.keys) {
  for (unsigned i = 0; i < context_.manager.shards().size(); ++i) {
    tables_.push_back(std::make_unique<IdempotencyTable>(options_.idempotency_bytes, options_.idempotency_window_ms));
  }
}

void ServerApi::add(std::string_view method, std::string_view pattern, Handler handler, Repeat repeat) {
  context_.router.add(
      {method, pattern, [this, handler, repeat](HttpConnection& connection, const HttpRequest& request) {
         handle(connection, request, handler, repeat);
       }});
}

bool ServerApi::admit(HttpConnection& connection, const HttpRequest& request) const {
  if (keys_.empty()) {
    if (options_.open_without_keys) return true;
    connection.respond(
        error_response(ErrorCode::kForbidden,
                       "The node has no api_keys, and does not listen on loopback alone: it serves no backend."));
    return false;
  }
  const std::string key = presented_key(request);
  if (!key.empty() && keys_.accepts(key)) return true;
  HttpResponse response = error_response(ErrorCode::kUnauthorized);
  response.extra_headers = "WWW-Authenticate: Bearer realm=\"hubbub\"\r\n";
  connection.respond(response);
  return false;
}

void ServerApi::handle(HttpConnection& connection, const HttpRequest& request, Handler handler, Repeat repeat) {
  if (!admit(connection, request)) return;
  IdempotencyTable::Entry* once = nullptr;
  if (repeat == Repeat::kOnce) {
    const std::string key = request.header("Idempotency-Key");
    if (!key.empty()) {
      const auto begun = begin_once(connection, request, key);
      if (!begun) return;
      once = *begun;
    }
  }
  Call call(*this, connection, request, once);
  try {
    handler(call);
  } catch (...) {
    call.abandon();
    throw;
  }
}

std::optional<IdempotencyTable::Entry*> ServerApi::begin_once(HttpConnection& connection, const HttpRequest& request,
                                                              std::string_view key) {
  if (key.size() > kIdempotencyKeyMaxBytes) {
    connection.respond(error_response(ErrorCode::kBadRequest, "An Idempotency-Key is at most 255 bytes long."));
    return std::nullopt;
  }
  std::string name(request.target().path);
  name.append(1, '\0').append(key);
  // All that name the same meet on one shard, where their table needs no lock.
  const unsigned shard = context_.manager.shards().home_of(base::SharedString::hash_of(name));
  if (shard != connection.shard().index()) {
    connection.move_to(shard);
    return std::nullopt;
  }
  IdempotencyTable& table = *tables_[shard];
  IdempotencyTable::Entry* const known = table.find(name, connection.shard().now_ms());
  if (known == nullptr) return &table.begin(std::move(name));
  if (!known->done) {
    known->waiting.push_back(connection.defer());
    return std::nullopt;
  }
  HttpResponse response = known->response;
  response.extra_headers += kRepeated;
  connection.respond(response);
  return std::nullopt;
}

void ServerApi::finish_once(IdempotencyTable::Entry& entry, const HttpResponse& response, unsigned shard) {
  const std::vector<transport::DeferredAnswer> waiting = std::exchange(entry.waiting, {});
  tables_[shard]->finish(entry, response, context_.manager.shards()[shard].now_ms());
  if (waiting.empty()) return;
  HttpResponse again = response;
  again.extra_headers += kRepeated;
  for (const transport::DeferredAnswer& answer : waiting) context_.transports[shard]->answer(answer.id, again);
}

}  // namespace hubbub::api
