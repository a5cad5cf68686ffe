#include <algorithm>
#include <utility>

#include "hubbub/protocol/event.hpp"
#include "hubbub/transport/http.hpp"

namespace hubbub::transport {

namespace {

bool matches(std::string_view pattern, std::string_view path, Segments& segments) {
  for (std::size_t next = 0;;) {
    const std::size_t brace = std::min(pattern.find('{'), pattern.size());
    if (!path.starts_with(pattern.substr(0, brace))) return false;
    path.remove_prefix(brace);
    pattern.remove_prefix(brace);
    if (pattern.empty()) return path.empty();
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end == 0) return false;
    segments[next++] = path.substr(0, end);
    path.remove_prefix(end);
    pattern.remove_prefix(pattern.find('}') + 1);
  }
}

// The value of Allow for the methods of routes; HEAD and OPTIONS follow from them.
std::string allow_text(std::vector<std::string_view> methods) {
  if (std::find(methods.begin(), methods.end(), "GET") != methods.end()) methods.push_back("HEAD");
  methods.push_back("OPTIONS");
  std::sort(methods.begin(), methods.end());
  methods.erase(std::unique(methods.begin(), methods.end()), methods.end());
  std::string text;
  for (const std::string_view method : methods) {
    if (!text.empty()) text += ", ";
    text += method;
  }
  return text;
}

}  // namespace

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::string_view> methods;
  for (const Route& route : routes_) {
    Segments segments;
    if (!matches(route.pattern, path, segments)) continue;
    if (route.method == method || (method == "HEAD" && route.method == "GET")) return {&route, segments, {}};
    methods.push_back(route.method);
  }
  if (!methods.empty()) match.allow = allow_text(std::move(methods));
  return match;
}

std::string Router::methods() const {
  std::vector<std::string_view> methods;
  for (const Route& route : routes_) methods.push_back(route.method);
  return allow_text(std::move(methods));
}

std::string_view status_text(unsigned status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

HttpResponse error_response(protocol::ErrorCode code, std::string_view message) {
  HttpResponse response{.status = protocol::error_info(code).http_status};
  protocol::append_http_error(response.body, code, message);
  return response;
}

}  // namespace hubbub::transport
