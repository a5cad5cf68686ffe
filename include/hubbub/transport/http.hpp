#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/protocol/errors.hpp"
#include "hubbub/transport/target.hpp"

namespace hubbub::transport {

class HttpConnection;

/// What matched a route's `{}` segments.
inline constexpr std::size_t kMaxSegments = 2;
using Segments = std::array<std::string_view, kMaxSegments>;

/// One request, complete. Views live until it has been answered.
class HttpRequest {
 public:
  virtual std::string_view method() const = 0;
  virtual std::string_view body() const = 0;
  /// Value of a header, lines of the same name joined by commas; empty when there is none.
  virtual std::string header(std::string_view name) const = 0;
  virtual bool is_http_1_1() const = 0;
  const Target& target() const { return target_; }
  /// What matched the route's `{}` segments, still encoded; empty when there is no such segment.
  std::string_view segment(std::size_t index = 0) const { return segments_[index]; }

 protected:
  ~HttpRequest() = default;
  friend class HttpConnection;
  Target target_;
  Segments segments_{};
};

struct HttpResponse {
  unsigned status = 200;
  std::string body{};
  std::string content_type = "application/json";
  std::string extra_headers{};  ///< whole lines, each ending in CRLF
};

/// The status line's text of a code that we send.
std::string_view status_text(unsigned status);
/// `{"error":{...}}` with the status of the error's row. An empty message means the row's text.
HttpResponse error_response(protocol::ErrorCode code, std::string_view message = {});

/// One endpoint. HEAD and OPTIONS follow from the table: HEAD is GET without the body, OPTIONS lists the methods.
struct Route {
  std::string_view method;
  std::string_view pattern;  ///< a path; a segment `{name}` matches one non-empty segment, percent-encoded
  /// Must answer by connection.respond() or take the connection over. [shard]
  std::function<void(HttpConnection& connection, const HttpRequest& request)> handle;
};

/// The table of endpoints. Immutable once the server has started. [any thread]
class Router {
 public:
  void add(Route route) { routes_.push_back(std::move(route)); }
  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;
    Segments segments{};
    std::string allow{};  ///< methods of the path when `route` is null; empty when the path is unknown
  };
  Match find(std::string_view method, std::string_view path) const;
  /// Every method that some path knows, as in Allow.
  std::string methods() const;

 private:
  std::vector<Route> routes_;
};

}  // namespace hubbub::transport
