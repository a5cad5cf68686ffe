#include "hubbub/app/settings_table.hpp"

#include <arpa/inet.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

#include "hubbub/base/units.hpp"
#include "hubbub/broker/redis/options.hpp"
#include "hubbub/broker/retention.hpp"

namespace hubbub::app {
namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB, kTiB = 1024 * kGiB;
constexpr std::uint64_t kSecond = 1'000, kMinute = 60 * kSecond, kHour = 60 * kMinute;

Problem check_listen(std::string_view value) {
  if (parse_listen_address(value)) return {};
  return shown_value(value) + " is not host:port or [v6]:port with a numeric host or localhost";
}

Problem check_server_id(std::string_view value) {
  const auto good = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
           c == '-';
  };
  if (value.size() <= 64 && std::all_of(value.begin(), value.end(), good)) return {};
  return shown_value(value) + " is not up to 64 letters, digits, '.', '_' and '-'";
}

Problem check_retention_rule(std::string_view value) {
  const auto parsed = broker::parse_retention_rule(value);
  const auto* problem = std::get_if<std::string>(&parsed);
  return problem != nullptr ? shown_value(value) + " " + *problem : Problem{};
}

Problem check_api_key(std::string_view value) {
  const auto visible = [](char c) { return c > ' ' && c < 0x7F && c != ','; };
  if (!value.empty() && value.size() <= 256 && std::all_of(value.begin(), value.end(), visible)) return {};
  return "a key is 1 to 256 visible ASCII characters, and no comma";
}

using Type = SettingType;

Problem check_redis_url(std::string_view value) {
  const auto parsed = broker::redis::parse_redis_urls({std::string(value)});
  const auto* problem = std::get_if<std::string>(&parsed);
  return problem != nullptr ? *problem : Problem{};
}

constexpr std::string_view kNode = "Node", kLog = "Logging", kHttp = "HTTP and WebSocket",
                           kSse = "Server-Sent Events and polling", kLimits = "Sessions and rooms",
                           kStreams = "Streams and memory broker", kRedis = "Redis", kRuntime = "Runtime";

// One row a setting, so that it reads as a table.
// clang-format off
const std::array kTable{
  SettingRow{.group = kNode, .key = "listen", .type = Type::kList, .member = &Settings::listen, .min = 1, .check = check_listen,
    .text = "Address to listen on, `host:port` or `[v6]:port` with a numeric host or `localhost`; port 0 takes a free one. May be given several times."},
  SettingRow{.group = kNode, .key = "insecure_open", .type = Type::kFlag, .member = &Settings::insecure_open,
    .text = "Let the node listen on other addresses than loopback although it asks nobody for a token: whoever reaches it may speak as any user."},
  SettingRow{.group = kNode, .key = "shards", .type = Type::kCount, .member = &Settings::shards, .max = 256,
    .text = "Threads that serve sessions. 0: one a core."},
  SettingRow{.group = kNode, .key = "server_id", .type = Type::kText, .member = &Settings::server_id, .check = check_server_id,
    .text = "Name of this node, unique among nodes that work together; up to 64 letters, digits, `.`, `_`, `-`. Empty: a random one at every start."},
  SettingRow{.group = kNode, .key = "broker", .type = Type::kText, .member = &Settings::broker, .choices = "memory|redis",
    .text = "What carries events and keeps streams. `memory`: inside this process, gone when it stops. `redis`: in Redis 7 or later, for any number of nodes that act as one."},
  SettingRow{.group = kNode, .key = "api_keys", .type = Type::kList, .member = &Settings::api_keys, .check = check_api_key,
    .text = "Keys of backends; whatever is below `/api`, `/notify` and `/send` asks for one of them, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. None: these paths are served only while the node listens on nothing but loopback, and answer 403 else.", .secret = true},
  SettingRow{.group = kNode, .key = "test_echo", .type = Type::kFlag, .member = &Settings::test_echo,
    .text = "Serve /echo, a WebSocket that sends back what it gets, for conformance tests.", .hidden = true},

  SettingRow{.group = kLog, .key = "log_level", .type = Type::kText, .member = &Settings::log_level, .choices = "trace|debug|info|warn|error|off",
    .text = "Least level that is logged."},
  SettingRow{.group = kLog, .key = "log_format", .type = Type::kText, .member = &Settings::log_format, .choices = "text|json",
    .text = "Lines for people, or one JSON object a line with `ts`, `level`, `shard` (on a shard's thread) and `msg`."},
  SettingRow{.group = kLog, .key = "log_file", .type = Type::kText, .member = &Settings::log_file,
    .text = "File to append the log to; SIGHUP opens it anew, so it can be rotated. Empty: standard error."},

  SettingRow{.group = kHttp, .key = "message_max_bytes", .type = Type::kSize, .member = &Settings::message_max_bytes, .min = 1, .max = 64 * kMiB,
    .text = "Largest message a client may send, after decompression; a larger one closes the session with 1009."},
  SettingRow{.group = kHttp, .key = "http_header_max_bytes", .type = Type::kSize, .member = &Settings::http_header_max_bytes, .min = 256, .max = kMiB,
    .text = "Largest request line and header together; past it the answer is 431, or 414 when the request line alone is longer. Also the most of a chunk's extension or of trailers."},
  SettingRow{.group = kHttp, .key = "http_body_max_bytes", .type = Type::kSize, .member = &Settings::http_body_max_bytes, .min = 1, .max = kGiB,
    .text = "Largest request body; past it the answer is 413."},
  SettingRow{.group = kHttp, .key = "handshake_timeout", .type = Type::kDuration, .member = &Settings::handshake_timeout, .min = 10, .max = 10 * kMinute,
    .text = "Time for a request to arrive whole, from its first byte or from the accept."},
  SettingRow{.group = kHttp, .key = "http_idle_timeout", .type = Type::kDuration, .member = &Settings::http_idle_timeout, .min = 10, .max = 24 * kHour,
    .text = "How long a keep-alive connection may wait for its next request."},
  SettingRow{.group = kHttp, .key = "heartbeat", .type = Type::kDuration, .member = &Settings::heartbeat, .min = 10, .max = kHour,
    .text = "Time between pings; a session that stays silent over two of them is closed with 4000."},
  SettingRow{.group = kHttp, .key = "close_timeout", .type = Type::kDuration, .member = &Settings::close_timeout, .min = 10, .max = 10 * kMinute,
    .text = "How long the other side may take to answer a close frame."},
  SettingRow{.group = kHttp, .key = "frames_per_second", .type = Type::kCount, .member = &Settings::frames_per_second, .max = 1'000'000'000,
    .text = "Commands a session may send a second; those past it are answered with the error `rate_limited`. 0: no limit."},
  SettingRow{.group = kHttp, .key = "bytes_per_second", .type = Type::kSize, .member = &Settings::bytes_per_second, .max = kTiB,
    .text = "Bytes a session may send a second; commands past it, and any command larger than this, are answered with the error `rate_limited`. 0: no limit."},
  SettingRow{.group = kHttp, .key = "out_queue_bytes", .type = Type::kSize, .member = &Settings::out_queue_bytes, .min = kKiB, .max = 256 * kMiB,
    .text = "Bytes that may wait for a session that reads slowly; past it ephemeral events are dropped and kept ones are left to be refilled from their stream."},
  SettingRow{.group = kHttp, .key = "slow_consumer_grace", .type = Type::kDuration, .member = &Settings::slow_consumer_grace, .max = kHour,
    .text = "How long a session may stay past `out_queue_bytes` before it is closed with 4001."},
  SettingRow{.group = kHttp, .key = "compression", .type = Type::kFlag, .member = &Settings::compression,
    .text = "Offer permessage-deflate (without context takeover, so that it costs no memory a session)."},
  SettingRow{.group = kHttp, .key = "compression_min_bytes", .type = Type::kSize, .member = &Settings::compression_min_bytes, .max = 64 * kMiB,
    .text = "Messages below this size are sent as they are."},
  SettingRow{.group = kHttp, .key = "compression_level", .type = Type::kCount, .member = &Settings::compression_level, .min = 1, .max = 9,
    .text = "1 is fast, 9 is small."},

  SettingRow{.group = kSse, .key = "sse_keepalive", .type = Type::kDuration, .member = &Settings::sse_keepalive, .min = 10, .max = kHour,
    .text = "An event stream that has been silent for so long gets a comment, so that proxies keep it open."},
  SettingRow{.group = kSse, .key = "sse_retry", .type = Type::kDuration, .member = &Settings::sse_retry, .max = kHour,
    .text = "How long a browser waits before it opens a broken event stream again."},
  SettingRow{.group = kSse, .key = "session_linger", .type = Type::kDuration, .member = &Settings::session_linger, .max = kHour,
    .text = "How long a session over SSE or polling stays when its connection has ended: a client that is back by then has neither left nor joined."},
  SettingRow{.group = kSse, .key = "poll_timeout_max", .type = Type::kDuration, .member = &Settings::poll_timeout_max, .min = 1, .max = kHour,
    .text = "The longest that a poll may ask to wait."},

  SettingRow{.group = kLimits, .key = "max_sessions", .type = Type::kCount, .member = &Settings::max_sessions, .min = 1, .max = 16'000'000,
    .text = "Sessions on this node; past it a handshake is answered with 503. A session id holds 24 bits for its place, hence the maximum."},
  SettingRow{.group = kLimits, .key = "max_sessions_per_user", .type = Type::kCount, .member = &Settings::max_sessions_per_user, .min = 1, .max = 1'000'000,
    .text = "Sessions of one user on this node; one more is closed with 4003."},
  SettingRow{.group = kLimits, .key = "max_connections_per_address", .type = Type::kCount, .member = &Settings::max_connections_per_address, .max = 100'000'000,
    .text = "Connections from one address; one more is closed without an answer. 0: no limit, right behind a load balancer."},
  SettingRow{.group = kLimits, .key = "max_rooms_per_session", .type = Type::kCount, .member = &Settings::max_rooms_per_session, .min = 1, .max = 1'000'000,
    .text = "Rooms a session may be in."},
  SettingRow{.group = kLimits, .key = "max_watches_per_session", .type = Type::kCount, .member = &Settings::max_watches_per_session, .max = 1'000'000,
    .text = "Users whose presence a session may watch."},
  SettingRow{.group = kLimits, .key = "typing_ttl", .type = Type::kDuration, .member = &Settings::typing_ttl, .min = 10, .max = 10 * kMinute,
    .text = "How long somebody is typing without saying so again."},
  SettingRow{.group = kLimits, .key = "joined_members_max", .type = Type::kCount, .member = &Settings::joined_members_max, .max = 100'000,
    .text = "Members listed in the answer to a join; `member_count` is always the whole number."},
  SettingRow{.group = kLimits, .key = "room_announce_max", .type = Type::kCount, .member = &Settings::room_announce_max, .max = 100'000'000,
    .text = "Rooms with more members than this tell the number of members instead of each who comes and goes."},
  SettingRow{.group = kLimits, .key = "last_seen_max", .type = Type::kCount, .member = &Settings::last_seen_max, .max = 100'000'000,
    .text = "Users who are away whose `last_seen` is remembered; the longest gone are forgotten first."},
  SettingRow{.group = kLimits, .key = "reports_max", .type = Type::kCount, .member = &Settings::reports_max, .max = 10'000'000,
    .text = "Delivery reports that may wait for a user's `received` at a time; past it a publish that asks for one is answered with 503."},
  SettingRow{.group = kLimits, .key = "idempotency_bytes", .type = Type::kSize, .member = &Settings::idempotency_bytes, .max = 64 * kGiB,
    .text = "Bytes of answers that are kept for a repeated `Idempotency-Key`, for `dedupe_window` at most; past it the oldest go first."},

  SettingRow{.group = kStreams, .key = "retain_count", .type = Type::kCount, .member = &Settings::retain_count, .max = broker::kRetainCountMax,
    .text = "Events kept a stream (a room, or a user's inbox). 0 keeps none."},
  SettingRow{.group = kStreams, .key = "retain_age", .type = Type::kDuration, .member = &Settings::retain_age, .min = broker::kRetainAgeMinMs, .max = broker::kRetainAgeMaxMs,
    .text = "How long an event is kept."},
  SettingRow{.group = kStreams, .key = "retain_bytes", .type = Type::kSize, .member = &Settings::retain_bytes, .max = broker::kRetainBytesMax,
    .text = "Bytes kept a stream."},
  SettingRow{.group = kStreams, .key = "retain", .type = Type::kList, .member = &Settings::retain, .max = broker::kRetentionRulesMax, .check = check_retention_rule,
    .text = "Rules for streams that keep more or less, such as `room:news-* count=10 age=1h` or `inbox:* age=7d`; the first that fits a stream is taken. May be given several times, at most 64."},
  SettingRow{.group = kStreams, .key = "broker_memory_bytes", .type = Type::kSize, .member = &Settings::broker_memory_bytes, .min = 64 * kKiB, .max = kTiB,
    .text = "Bytes that the memory broker keeps in all; past it the streams that were idle longest go first."},
  SettingRow{.group = kStreams, .key = "dedupe_window", .type = Type::kDuration, .member = &Settings::dedupe_window, .max = 24 * kHour,
    .text = "How long a repeated `message_id`, or `Idempotency-Key`, is known."},
  SettingRow{.group = kStreams, .key = "dedupe_max", .type = Type::kCount, .member = &Settings::dedupe_max, .max = 1'000'000,
    .text = "How many `message_id`s are known a stream."},

  SettingRow{.group = kRedis, .key = "redis_url", .type = Type::kList, .member = &Settings::redis_url, .max = 64, .check = check_redis_url,
    .text = "Where Redis is (none: `redis://127.0.0.1:6379`): `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS. Several: streams are spread over these servers (consistent hashing). `redis+sentinel://host:port,host:port/master` and `redis+cluster://host:port,host:port` for those (`rediss+...` with TLS).", .secret = true},
  SettingRow{.group = kRedis, .key = "redis_tls_ca", .type = Type::kText, .member = &Settings::redis_tls_ca,
    .text = "File with the certificates (PEM) that Redis' own may be signed by. Empty: those of the system."},
  SettingRow{.group = kRedis, .key = "redis_tls_cert", .type = Type::kText, .member = &Settings::redis_tls_cert,
    .text = "File with this node's certificate (PEM), where Redis asks for one."},
  SettingRow{.group = kRedis, .key = "redis_tls_key", .type = Type::kText, .member = &Settings::redis_tls_key,
    .text = "File with the key (PEM) of `redis_tls_cert`."},
  SettingRow{.group = kRedis, .key = "redis_connect_timeout", .type = Type::kDuration, .member = &Settings::redis_connect_timeout, .min = 10, .max = 10 * kMinute,
    .text = "How long one attempt to connect may take."},
  SettingRow{.group = kRedis, .key = "redis_wait", .type = Type::kDuration, .member = &Settings::redis_wait, .min = 10, .max = 10 * kMinute,
    .text = "How long a command waits while Redis is away; past it clients get the error `broker_unavailable`, and `/readyz` says 503."},
  SettingRow{.group = kRedis, .key = "redis_queue_bytes", .type = Type::kSize, .member = &Settings::redis_queue_bytes, .min = 64 * kKiB, .max = 64 * kGiB,
    .text = "Bytes of commands that may wait for Redis, a shard; past it they fail at once."},
  SettingRow{.group = kRedis, .key = "node_lease", .type = Type::kDuration, .member = &Settings::node_lease, .min = 100, .max = kHour,
    .text = "How long a node may be silent before the others take it for dead, and its users for offline."},
  SettingRow{.group = kRedis, .key = "last_seen_age", .type = Type::kDuration, .member = &Settings::last_seen_age, .min = kMinute, .max = 3650 * 24 * kHour,
    .text = "How long Redis remembers when a user was last seen."},

  SettingRow{.group = kRuntime, .key = "mailbox_max", .type = Type::kCount, .member = &Settings::mailbox_max, .min = 16, .max = 16'777'216,
    .text = "Messages that may wait for a shard; a full mailbox drops ephemeral events, and kept ones are refilled from their stream."},
};
// clang-format on

Problem out_of_range(const SettingRow& row, std::string_view value) {
  return shown_value(value) + " is out of range (" + range_text(row) + ")";
}

bool has_control(std::string_view value) {
  return std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

// Ids, paths and addresses end up in logs and terminals, so no setting may hold a control character.
Problem check_text(const SettingRow& row, std::string_view value) {
  if (has_control(value)) return "control characters are not allowed";
  if (!row.choices.empty()) {
    std::string_view rest = row.choices;
    while (!rest.empty()) {
      const auto bar = std::min(rest.find('|'), rest.size());
      if (rest.substr(0, bar) == value) return {};
      rest.remove_prefix(std::min(bar + 1, rest.size()));
    }
    return shown_value(value) + " is not " + range_text(row);
  }
  return row.check ? row.check(value) : Problem{};
}

Problem parse_into(const SettingRow& row, std::span<const std::string> values, Settings& settings) {
  if (const auto* list = std::get_if<std::vector<std::string> Settings::*>(&row.member)) {
    const bool none = values.empty() || (values.size() == 1 && values.front().empty());
    if (none ? row.min != 0 : values.size() < row.min) return "needs at least one value";
    if (row.max != 0 && values.size() > row.max) return fmt::format("takes at most {} values", row.max);
    if (none) {
      (settings.*(*list)).clear();
      return {};
    }
    for (const auto& value : values) {
      if (auto problem = check_text(row, value)) return problem;
    }
    settings.*(*list) = {values.begin(), values.end()};
    return {};
  }
  if (values.size() != 1) return "needs exactly one value";
  const std::string& value = values.front();
  if (const auto* text = std::get_if<std::string Settings::*>(&row.member)) {
    if (auto problem = check_text(row, value)) return problem;
    settings.*(*text) = value;
  } else if (const auto* flag = std::get_if<bool Settings::*>(&row.member)) {
    if (value != "true" && value != "false") return shown_value(value) + " is not true or false";
    settings.*(*flag) = value == "true";
  } else if (const auto* duration = std::get_if<std::chrono::milliseconds Settings::*>(&row.member)) {
    const auto parsed = base::parse_duration(value);
    if (!parsed) return shown_value(value) + " is not a duration such as 30s, 500ms, 5m, 24h or 7d";
    const auto count = static_cast<std::uint64_t>(parsed->count());
    if (count < row.min || count > row.max) return out_of_range(row, value);
    settings.*(*duration) = *parsed;
  } else {
    const bool size = row.type == SettingType::kSize;
    const auto parsed = size ? base::parse_size(value) : base::parse_count(value);
    if (!parsed)
      return shown_value(value) + (size ? " is not a size such as 65536, 64KiB or 1MiB" : " is not a whole number");
    if (*parsed < row.min || *parsed > row.max) return out_of_range(row, value);
    settings.*std::get<std::size_t Settings::*>(row.member) = static_cast<std::size_t>(*parsed);
  }
  return {};
}

std::string toml_string(std::string_view value) {
  if (value.find_first_of("\"\\") == std::string_view::npos) return fmt::format("\"{}\"", value);
  if (value.find('\'') == std::string_view::npos) return fmt::format("'{}'", value);
  std::string escaped;  // '...' cannot hold a quote of its own
  for (const char c : value) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return fmt::format("\"{}\"", escaped);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::span<const SettingRow> settings_table() { return kTable; }

const SettingRow* find_setting(std::string_view key) {
  const auto row = std::find_if(kTable.begin(), kTable.end(), [&](const SettingRow& r) { return r.key == key; });
  return row == kTable.end() ? nullptr : &*row;
}

std::string_view nearest_key(std::string_view wrong) {
  if (wrong.size() > 64) return {};
  std::string_view best;
  std::size_t best_distance = 3;
  for (const SettingRow& row : kTable) {
    if (row.hidden) continue;
    const auto distance = edit_distance(wrong, row.key);
    if (distance < best_distance) std::tie(best, best_distance) = std::pair(row.key, distance);
  }
  return best;
}

std::string flag_name(const SettingRow& row) {
  std::string name = "--" + std::string(row.key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string environment_name(const SettingRow& row) {
  std::string name = "HUBBUB_" + std::string(row.key);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? char(c - 32) : c; });
  return name;
}

std::string_view type_name(SettingType type) {
  switch (type) {
    case SettingType::kText:
      return "text";
    case SettingType::kList:
      return "list";
    case SettingType::kFlag:
      return "true/false";
    case SettingType::kCount:
      return "number";
    case SettingType::kSize:
      return "size";
    case SettingType::kDuration:
      return "duration";
  }
  return "";
}

std::string range_text(const SettingRow& row) {
  using std::chrono::milliseconds;
  switch (row.type) {
    case SettingType::kText: {
      std::string text(row.choices);
      const auto last = text.rfind('|');
      if (last != std::string::npos) text.replace(last, 1, " or ");
      for (auto bar = text.find('|'); bar != std::string::npos; bar = text.find('|')) text.replace(bar, 1, ", ");
      return text;
    }
    case SettingType::kCount:
      return fmt::format("{} to {}", row.min, row.max);
    case SettingType::kSize:
      return fmt::format("{} to {}", base::format_size(row.min), base::format_size(row.max));
    case SettingType::kDuration:
      return fmt::format("{} to {}", base::format_duration(milliseconds(row.min)),
                         base::format_duration(milliseconds(row.max)));
    default:
      return {};
  }
}

Problem set_setting(const SettingRow& row, std::span<const std::string> values, Settings& settings) {
  auto problem = parse_into(row, values, settings);
  if (problem && row.secret) return "the value is not acceptable";  // the detail would quote it
  return problem;
}

std::string toml_value(const SettingRow& row, const Settings& settings) {
  if (const auto* text = std::get_if<std::string Settings::*>(&row.member)) {
    return row.secret && !(settings.*(*text)).empty() ? "\"***\"" : toml_string(settings.*(*text));
  }
  if (const auto* list = std::get_if<std::vector<std::string> Settings::*>(&row.member)) {
    std::string array;
    for (const auto& value : settings.*(*list)) {
      if (!array.empty()) array += ", ";
      array += row.secret ? "\"***\"" : toml_string(value);
    }
    return "[" + array + "]";
  }
  if (const auto* flag = std::get_if<bool Settings::*>(&row.member)) return settings.*(*flag) ? "true" : "false";
  if (const auto* duration = std::get_if<std::chrono::milliseconds Settings::*>(&row.member)) {
    return fmt::format("\"{}\"", base::format_duration(settings.*(*duration)));
  }
  const std::size_t number = settings.*std::get<std::size_t Settings::*>(row.member);
  const auto size = base::format_size(number);
  if (row.type != SettingType::kSize || size == std::to_string(number)) return std::to_string(number);
  return fmt::format("\"{}\"", size);
}

std::optional<Conflict> find_conflict(const Settings& settings) {
  if (settings.redis_url.size() > 1) {
    // Each was good by itself; what only together is wrong: two clusters, say.
    const auto parsed = broker::redis::parse_redis_urls(settings.redis_url);
    if (const auto* problem = std::get_if<std::string>(&parsed)) return Conflict{"redis_url", *problem};
  }
  if (settings.insecure_open) return {};
  for (const auto& listen : settings.listen) {
    const auto address = parse_listen_address(listen);
    if (!address || address->loopback) continue;
    return Conflict{"listen", shown_value(listen) +
                                  " is not a loopback address, and without tokens whoever reaches it may speak as any "
                                  "user: listen on 127.0.0.1 or [::1], or allow it with --insecure-open "
                                  "(insecure_open = true)"};
  }
  return {};
}

std::string shown_value(std::string_view value) {
  constexpr std::size_t kMaxShown = 80;
  std::string shown(value.substr(0, kMaxShown));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  if (value.size() > kMaxShown) shown += "...";
  return "'" + shown + "'";
}

std::optional<ListenAddress> parse_listen_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string host(text.substr(0, colon));
  const auto port = text.substr(colon + 1);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos) return {};
  const auto number = base::parse_count(port);
  if (!number || *number > 65'535) return {};

  ListenAddress result{.address = host, .port = static_cast<std::uint16_t>(*number)};
  if (host == "localhost") result.address = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    result.address = host.substr(1, host.size() - 2);
    in6_addr v6{};
    if (inet_pton(AF_INET6, result.address.c_str(), &v6) != 1) return {};
    result.loopback = IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return result;
  }
  in_addr v4{};
  if (inet_pton(AF_INET, result.address.c_str(), &v4) != 1) return {};
  result.loopback = (ntohl(v4.s_addr) >> 24U) == 127;
  return result;
}

constexpr std::string_view kRetentionText = R"(
## Retention by pattern

`retain_count`, `retain_age` and `retain_bytes` hold for every stream that no rule in `retain` fits. A rule names
streams and what is different for them:

```toml
retain = [
  "room:news-* count=100 age=30d",  # a long memory for rooms whose id starts with news-
  "room:ticker-?? count=1",         # only the last message, for ids of two more characters
  'room:tea\ room bytes=4MiB',      # one room; a blank in its id stands behind a backslash
  "room:tmp-* count=0",             # nothing is kept, everything is carried
  "inbox:* age=7d bytes=256KiB",    # direct messages and notifications, by the id of the user
]
```

- First `room:` or `inbox:` and a pattern for the whole id: `*` is any run of characters, `?` is one, a backslash takes
  the meaning from what follows, all else stands for itself. In the file a rule with a backslash stands in `'...'`.
- Then `count=`, `age=` and `bytes=`, at least one of them, each at most once and with the ranges of the settings above.
  What a rule leaves out is `retain_count`, `retain_age` or `retain_bytes`.
- The first rule that fits is taken, and no other: put the special ones before the general ones.
- By flag: `--retain 'room:news-* age=30d' --retain 'inbox:* age=7d'`. In `HUBBUB_RETAIN` a comma ends a rule; where an
  id has one, `?` fits it.
)";

std::string configuration_document() {
  std::string out = R"(# Configuration

<!-- Written by the test SettingsTable.DocumentIsWhatTheTableSays from src/app/settings_table.cpp; HUBBUB_UPDATE_DOCS=1 rewrites it. -->

Every setting has one key, and three places where it can be given. The first that names it wins:

| place | `heartbeat` as an example | `listen`, a list |
|---|---|---|
| flag | `--heartbeat 20s` | `--listen 127.0.0.1:8080 --listen [::1]:8080` |
| environment | `HUBBUB_HEARTBEAT=20s` | `HUBBUB_LISTEN=127.0.0.1:8080,[::1]:8080` |
| file | `heartbeat = "20s"` | `listen = ["127.0.0.1:8080", "[::1]:8080"]` |
| default | | |

- The file is named by `--config FILE` or `HUBBUB_CONFIG`; without either none is read. `config/hubbub.toml` is an
  example in which every line is explained.
- `hubbub print-config` shows the values in effect and where each comes from; its output is itself a configuration
  file. `hubbub check-config` says whether they are good. Both take the same flags as `hubbub serve`.
- `hubbub healthcheck [http://HOST:PORT/PATH]` asks a running node: exit code 0 when it answers 200 within 3 s, else 1 and
  a line that says what went wrong. Without a URL it asks for `/healthz` where `listen` says, by the same flags,
  variables and file.
- An unknown flag or key, a value that cannot be read or is out of range: one line on standard error that names it, and
  exit code 2. What goes wrong later, such as a port in use, is exit code 1.
- An unknown `HUBBUB_` variable is only a warning in the log (other programs set such variables, Kubernetes for one).
  An empty variable counts as not set.

Types:

- **duration**: `500ms`, `30s`, `5m`, `24h`, `7d`; a plain number is seconds.
- **size**: `64KiB`, `1MiB`, `2GiB`; a plain number is bytes.
- **true/false**: as a flag `--compression`, `--no-compression` or `--compression=false`.
- **text**: in the file in quotes. In `"..."` there is no backslash; in `'...'` it stands for itself.
- The file is TOML with plain top-level keys: no sections and no tables.
)";
  std::string_view group;
  const Settings defaults;
  for (const SettingRow& row : kTable) {
    if (row.hidden) continue;
    if (row.group != group) {
      group = row.group;
      out += fmt::format("\n## {}\n\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n", group);
    }
    out += fmt::format("| `{}` | {} | `{}` | {} | {} |\n", row.key, type_name(row.type), toml_value(row, defaults),
                       range_text(row), row.text);
  }
  out += kRetentionText;
  return out;
}

namespace {

std::string comment(std::string_view text) {
  constexpr std::size_t kWidth = 100;
  std::string out, line = "#";
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find(' ', at), text.size());
    const auto word = text.substr(at, end - at);
    if (line.size() + 1 + word.size() > kWidth) out += std::exchange(line, "#") + "\n";
    line.append(" ").append(word);
    at = end + 1;
  }
  return out + line + "\n";
}

}  // namespace

std::string example_config() {
  std::string out =
      "# Hubbub configuration: every setting with its default. Take the # away from a line to change it.\n"
      "# A flag (--log-level debug) wins over the environment (HUBBUB_LOG_LEVEL=debug), and that over this file.\n"
      "# Durations are \"500ms\", \"30s\", \"5m\", \"24h\", \"7d\" or plain seconds; sizes \"64KiB\", \"1MiB\" or "
      "plain "
      "bytes.\n";
  std::string_view group;
  const Settings defaults;
  for (const SettingRow& row : kTable) {
    if (row.hidden) continue;
    if (row.group != group) {
      group = row.group;
      out += fmt::format("\n# ---- {} ----\n", group);
    }
    const auto range = range_text(row);
    out += "\n" + comment(fmt::format("{}{}", row.text, range.empty() ? "" : " (" + range + ")"));
    out += fmt::format("# {} = {}\n", row.key, toml_value(row, defaults));
  }
  return out;
}

}  // namespace hubbub::app
