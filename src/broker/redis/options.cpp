#include "hubbub/broker/redis/options.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "hubbub/base/ascii.hpp"

namespace hubbub::broker::redis {

namespace {

struct Scheme {
  std::string_view name;
  Topology topology;
  bool tls;
};
constexpr Scheme kSchemes[] = {
    {"redis", Topology::kSingle, false},
    {"rediss", Topology::kSingle, true},
    {"redis+sentinel", Topology::kSentinel, false},
    {"rediss+sentinel", Topology::kSentinel, true},
    {"redis+cluster", Topology::kCluster, false},
    {"rediss+cluster", Topology::kCluster, true},
};

/// What is wrong with a URL; texts are fixed, so that no part of a password can get into one.
struct Wrong {
  std::string_view what;
};

std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    throw Wrong{"a % in the user or password is not followed by two hex digits"};
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) throw Wrong{"a % in the user or password is not followed by two hex digits"};
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return out;
}

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
Endpoint endpoint_in(std::string_view text, std::uint16_t default_port) {
  Endpoint endpoint;
  std::string_view rest;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) throw Wrong{"a [ has no ]"};
    endpoint.host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') throw Wrong{"only :port may follow a ]"};
  } else {
    const auto colon = std::min(text.find(':'), text.size());
    endpoint.host = text.substr(0, colon);
    rest = text.substr(colon);
    if (std::count(rest.begin(), rest.end(), ':') > 1) throw Wrong{"an IPv6 address stands in brackets: [::1]:6379"};
  }
  if (endpoint.host.empty()) throw Wrong{"a host is missing"};
  if (std::any_of(endpoint.host.begin(), endpoint.host.end(), [](unsigned char c) {
        return c <= ' ' || c == 0x7F || c == '%' || c == '?' || c == '#' || c == '@';
      })) {
    throw Wrong{"a host holds a character that no host may have"};
  }
  endpoint.port = default_port;
  if (!rest.empty()) {
    const auto port = number_in<std::uint16_t>(rest.substr(1));
    if (!port || *port == 0) throw Wrong{"a port is not a number from 1 to 65535"};
    endpoint.port = *port;
  }
  return endpoint;
}

void add_endpoint(std::vector<Endpoint>& endpoints, Endpoint endpoint) {
  if (std::find(endpoints.begin(), endpoints.end(), endpoint) != endpoints.end())
    throw Wrong{"a server is named twice"};
  endpoints.push_back(std::move(endpoint));
}

unsigned database_in(std::string_view text) {
  const auto database = number_in<unsigned>(text);
  if (!database || *database > 1'000'000) throw Wrong{"the database is not a number"};
  return *database;
}

ClientOptions parse(std::string_view url) {
  const auto colon = url.find("://");
  if (colon == std::string_view::npos) throw Wrong{"it does not begin with redis:// or the like"};
  const auto* scheme = std::find_if(std::begin(kSchemes), std::end(kSchemes), [&](const Scheme& s) {
    return base::equal_ignoring_case(s.name, url.substr(0, colon));
  });
  if (scheme == std::end(kSchemes)) {
    throw Wrong{
        "it begins with none of redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// and "
        "rediss+cluster://"};
  }

  ClientOptions options;
  options.topology = scheme->topology;
  options.tls = scheme->tls;
  std::string_view rest = url.substr(colon + 3);
  if (rest.find_first_of("?#") != std::string_view::npos) {
    throw Wrong{"it has a ? or # part, which means nothing here (in a password they are written %3F and %23)"};
  }

  const auto slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  std::string_view path = rest.substr(slash);
  if (path.find('@') != std::string_view::npos) throw Wrong{"a / in the user or password is written %2F"};
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    const auto split = login.find(':');
    if (split == std::string_view::npos) throw Wrong{"before the @ stands user:password or :password"};
    if (login.find('@') != std::string_view::npos) throw Wrong{"an @ in the user or password is written %40"};
    options.user = percent_decoded(login.substr(0, split));
    options.password = percent_decoded(login.substr(split + 1));
    if (options.password.empty()) throw Wrong{"the password is empty"};
  }

  const bool many = options.topology == Topology::kSentinel || options.topology == Topology::kCluster;
  const std::uint16_t default_port = options.topology == Topology::kSentinel ? 26379 : 6379;
  while (many) {
    const auto comma = authority.find(',');
    add_endpoint(options.endpoints, endpoint_in(authority.substr(0, comma), default_port));
    if (comma == std::string_view::npos) break;
    authority.remove_prefix(comma + 1);
  }
  if (!many) {
    if (authority.find(',') != std::string_view::npos) throw Wrong{"several servers are several URLs"};
    options.endpoints.push_back(endpoint_in(authority, default_port));
  }

  if (!path.empty()) path.remove_prefix(1);
  if (options.topology == Topology::kCluster && !path.empty()) throw Wrong{"a Cluster has no databases"};
  if (options.topology == Topology::kSentinel) {
    const auto end = std::min(path.find('/'), path.size());
    options.sentinel_master = path.substr(0, end);
    if (options.sentinel_master.empty()) throw Wrong{"the name of the master is missing: .../name"};
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  if (!path.empty()) options.database = database_in(path);
  return options;
}

}  // namespace

std::variant<ClientOptions, std::string> parse_redis_urls(const std::vector<std::string>& urls) {
  if (urls.empty()) return "no Redis URL is given";
  std::optional<ClientOptions> all;
  for (std::size_t i = 0; i < urls.size(); ++i) {
    try {
      ClientOptions one = parse(urls[i]);
      if (!all) {
        all = std::move(one);
        continue;
      }
      if (one.topology != Topology::kSingle || all->endpoints.empty() ||
          (all->topology != Topology::kSingle && all->topology != Topology::kRing)) {
        throw Wrong{"several URLs make a ring, and each of them must be redis:// or rediss://"};
      }
      if (one.tls != all->tls || one.user != all->user || one.password != all->password ||
          one.database != all->database) {
        throw Wrong{"the servers of a ring have the same scheme, user, password and database"};
      }
      all->topology = Topology::kRing;
      add_endpoint(all->endpoints, std::move(one.endpoints.front()));
    } catch (const Wrong& wrong) {
      std::string text = "Redis URL";
      if (urls.size() > 1) text += " " + std::to_string(i + 1);
      return text + ": " + std::string(wrong.what);
    }
  }
  return *std::move(all);
}

std::string masked_redis_url(std::string_view url) {
  // It may be malformed, and still must not tell: whatever may be a login is taken for one, up to the last @.
  const auto at = url.rfind('@');
  if (at == std::string_view::npos) return std::string(url);
  const auto scheme = url.substr(0, at).find("://");
  const std::size_t start = scheme == std::string_view::npos ? 0 : scheme + 3;
  const auto colon = url.find(':', start);
  std::string masked(url.substr(0, colon < at ? colon + 1 : start));
  masked += "***";
  masked += url.substr(at);
  return masked;
}

}  // namespace hubbub::broker::redis
