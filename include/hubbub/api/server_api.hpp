#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/api/idempotency.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/hub/backend_requests.hpp"
#include "hubbub/hub/connection_manager.hpp"
#include "hubbub/security/api_keys.hpp"
#include "hubbub/transport/http_connection.hpp"
#include "hubbub/transport/shard_transport.hpp"

namespace hubbub::api {

struct ServerApiOptions {
  std::vector<std::string> keys;
  bool open_without_keys = false;            ///< when there are no keys: serve everybody
  std::size_t idempotency_bytes = 16 << 20;  ///< of one shard
  std::int64_t idempotency_window_ms = 300'000;
  std::size_t page_max_bytes = 512 * 1024;  ///< of events in one answer
};

inline constexpr std::size_t kPageLimitDefault = 100;
inline constexpr std::size_t kPageLimitMax = 1000;

class ServerApi;

/// Where an answer goes that comes later. A copy is as good; it must be sent once, on the asking shard.
struct Reply {
  ServerApi* api = nullptr;
  transport::DeferredAnswer to{};
  IdempotencyTable::Entry* once = nullptr;

  void send(const transport::HttpResponse& response) const;
};

/// One request in the hands of its handler, which must answer it: by respond(), or by the Reply of defer().
class Call {
 public:
  Call(ServerApi& api, transport::HttpConnection& connection, const transport::HttpRequest& request,
       IdempotencyTable::Entry* once)
      : api_(api), connection_(connection), request_(request), once_(once) {}

  const transport::HttpRequest& request() const { return request_; }
  transport::TransportContext& context() const;
  hub::ConnectionManager& manager() const;
  const ServerApiOptions& options() const;
  unsigned shard() const { return connection_.shard().index(); }
  std::int64_t unix_ms() const { return connection_.shard().unix_ms(); }

  void respond(const transport::HttpResponse& response);
  void refuse(protocol::ErrorCode code, std::string_view message = {});
  Reply defer();
  /// The handler failed: whoever waits for the same is told so.
  void abandon();

  // Each of these refuses the request and gives nothing when what it reads is not right.
  /// The id in a segment of the path.
  std::optional<base::SharedString> id(std::size_t segment, std::string_view name);
  /// A number of the query.
  std::optional<std::uint64_t> number(std::string_view name, std::uint64_t by_default, std::uint64_t min,
                                      std::uint64_t max);
  /// `limit` and `after`.
  std::optional<hub::PageRequest> page();

 private:
  ServerApi& api_;
  transport::HttpConnection& connection_;
  const transport::HttpRequest& request_;
  IdempotencyTable::Entry* once_;
};

/// What backends speak to: `/api`, `/notify` and `/send`. Asks each request for its key, and answers a repeated
/// `Idempotency-Key` from memory.
class ServerApi {
 public:
  /// Before the pool starts.
  ServerApi(transport::TransportContext& context, ServerApiOptions options);

  using Handler = void (*)(Call& call);
  /// A POST that publishes is `repeatable`: carried out once however often it comes with the same Idempotency-Key.
  enum class Repeat { kAgain, kOnce };
  void add(std::string_view method, std::string_view pattern, Handler handler, Repeat repeat = Repeat::kAgain);

  transport::TransportContext& context() { return context_; }
  const ServerApiOptions& options() const { return options_; }

 private:
  friend class Call;
  friend struct Reply;
  /// False: refused.
  bool admit(transport::HttpConnection& connection, const transport::HttpRequest& request) const;
  void handle(transport::HttpConnection& connection, const transport::HttpRequest& request, Handler handler,
              Repeat repeat);
  /// The request itself, or nothing when it has been answered, or waits for another one's answer.
  std::optional<IdempotencyTable::Entry*> begin_once(transport::HttpConnection& connection,
                                                     const transport::HttpRequest& request, std::string_view key);
  void finish_once(IdempotencyTable::Entry& entry, const transport::HttpResponse& response, unsigned shard);

  transport::TransportContext& context_;
  const ServerApiOptions options_;
  const security::ApiKeys keys_;
  std::vector<std::unique_ptr<IdempotencyTable>> tables_;  // by shard
};

/// `"error":{..}`, a part of a larger answer.
void append_error(std::string& out, protocol::ErrorCode code, std::string_view message = {});
/// Answers that the broker failed.
void send_unavailable(const Reply& reply);
/// `{"sessions":n}`, or that the broker failed.
void send_sessions(const Reply& reply, const base::Result<std::size_t>& count);

/// `after` of the page that follows; null: there is none.
template <class T>
nlohmann::ordered_json next_of(const hub::IdPage<T>& page) {
  if (!page.more) return nullptr;
  return page.items.back().id.view();
}

}  // namespace hubbub::api
