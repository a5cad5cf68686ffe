// hubbub-bench: a load generator for any Hubbub. See bench/README.md.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "generator.hpp"
#include "self_test.hpp"

namespace hubbub::bench {
namespace {

const char* mode_name(Mode mode) { return mode == Mode::kIdle ? "idle" : mode == Mode::kRate ? "rate" : "window"; }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || code == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(code));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

double per(double amount, double unit) { return unit > 0 ? amount / unit : 0; }
double ms(std::uint64_t ns) { return static_cast<double>(ns) * 1e-6; }

// Messages of the requests that were answered in the measured time.
double published(const Options& o, const Report& r) { return static_cast<double>(r.requests) * std::max(o.batch, 1U); }

void print_json(const Options& o, const Report& r) {
  std::string out = "{";
  const auto text = [&](const char* key, const std::string& value) {
    if (out.size() > 1) out += ",";
    out += quoted(key) + ":" + value;
  };
  const auto number = [&](const char* key, double value) {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, std::fabs(value) >= 1e6 || value == std::floor(value) ? "%.0f" : "%.6g",
                  value);
    text(key, buffer);
  };
  const auto maybe = [&](const char* key, const auto& value) {
    value ? number(key, static_cast<double>(*value)) : text(key, "null");
  };
  text("good", r.good() ? "true" : "false");
  text("mode", quoted(mode_name(o.mode)));
  number("connections", o.connections);
  number("rooms", o.rooms);
  number("window", o.mode == Mode::kWindow ? o.window : 0);
  number("rate", o.mode == Mode::kRate ? o.rate : 0);
  text("publish_http", o.publish_http ? "true" : "false");
  number("batch", o.batch);
  number("size", o.size);
  number("connected", r.connected);
  number("joined", r.joined);
  number("connect_s", r.connect_s);
  number("connects_per_s", per(r.connected, r.connect_s));
  number("join_s", r.join_s);
  number("measured_s", r.measured_s);
  number("messages_sent", static_cast<double>(r.messages_sent));
  number("messages_completed", static_cast<double>(r.messages_completed));
  number("deliveries", static_cast<double>(r.deliveries));
  number("deliveries_per_s", per(static_cast<double>(r.deliveries), r.measured_s));
  maybe("server_cpu_s", r.server_cpu_s);
  if (r.server_cpu_s) {
    number("deliveries_per_server_cpu_s", per(static_cast<double>(r.deliveries), *r.server_cpu_s));
  }
  if (o.publish_http) {
    number("requests", static_cast<double>(r.requests));
    number("requests_per_s", per(static_cast<double>(r.requests), r.measured_s));
    number("published_per_s", per(published(o, r), r.measured_s));
    if (r.server_cpu_s) {
      number("requests_per_server_cpu_s", per(static_cast<double>(r.requests), *r.server_cpu_s));
      number("published_per_server_cpu_s", per(published(o, r), *r.server_cpu_s));
    }
  }
  maybe("server_cpu_setup_s", r.server_cpu_connect_s);
  number("generator_cpu_s", r.generator_cpu_s);
  number("lost", static_cast<double>(r.lost));
  number("duplicates", static_cast<double>(r.duplicates));
  number("reordered", static_cast<double>(r.reordered));
  number("misrouted", static_cast<double>(r.misrouted));
  number("corrupt", static_cast<double>(r.corrupt));
  number("foreign", static_cast<double>(r.foreign));
  number("late", static_cast<double>(r.late));
  number("behind", static_cast<double>(r.behind));
  number("unsent", static_cast<double>(r.unsent));
  number("max_outstanding", static_cast<double>(r.max_outstanding));
  number("disconnects", static_cast<double>(r.disconnects));
  number("errors", static_cast<double>(r.errors));
  text("stalled", r.stalled ? "true" : "false");
  text("first_error", quoted(r.first_error));
  std::string latency = "{";
  for (const auto& [name, percent] : {std::pair{"p50", 50.0}, {"p90", 90.0}, {"p99", 99.0}, {"p99_9", 99.9}}) {
    latency += quoted(name) + ":" + std::to_string(ms(r.latency.percentile(percent))) + ",";
  }
  text("latency_ms", latency + "\"max\":" + std::to_string(ms(r.latency.max())) + "}");
  maybe("rss_before_bytes", r.rss_before);
  maybe("rss_connected_bytes", r.rss_connected);
  maybe("rss_end_bytes", r.rss_end);
  if (r.rss_before && r.rss_connected) {
    number("rss_bytes_per_session", per(static_cast<double>(*r.rss_connected - *r.rss_before), r.connected));
  }
  std::printf("%s}\n", out.c_str());
}

void print_table(const Options& o, const Report& r) {
  const auto row = [](const char* name, const char* format, auto... values) {
    std::printf("%-22s ", name);
    std::printf(format, values...);
    std::putchar('\n');
  };
  const auto count = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  if (o.publish_http) {
    row("load", "by HTTP, %u requests unanswered, %u messages a request, %u bytes", o.window, std::max(o.batch, 1U),
        o.size);
  } else if (o.mode == Mode::kWindow) {
    row("load", "%u messages outstanding, %u bytes", o.window, o.size);
  }
  if (o.mode == Mode::kRate) row("load", "%.6g messages/s on a fixed schedule, %u bytes", o.rate, o.size);
  row("connections", "%u in %u rooms, %u joined", r.connected, o.rooms, r.joined);
  row("connect", "%.3f s, %.0f connects/s", r.connect_s, per(r.connected, r.connect_s));
  if (o.join) row("join", "%.3f s, %.0f joins/s", r.join_s, per(r.joined, r.join_s));
  if (o.mode != Mode::kIdle) {
    row("messages", "%llu sent, %llu reached everybody", count(r.messages_sent), count(r.messages_completed));
    row("deliveries", "%llu in %.3f s", count(r.deliveries), r.measured_s);
    row("deliveries/s", "%.0f", per(static_cast<double>(r.deliveries), r.measured_s));
  }
  if (o.publish_http) {
    row("requests", "%llu in %.3f s", count(r.requests), r.measured_s);
    row("requests/s", "%.0f", per(static_cast<double>(r.requests), r.measured_s));
    row("messages/s", "%.0f", per(published(o, r), r.measured_s));
  }
  if (r.server_cpu_s) {
    if (o.publish_http) {
      row("per server-CPU-second", "%.0f requests, %.0f messages",
          per(static_cast<double>(r.requests), *r.server_cpu_s), per(published(o, r), *r.server_cpu_s));
    } else if (o.mode != Mode::kIdle) {
      row("per server-CPU-second", "%.0f", per(static_cast<double>(r.deliveries), *r.server_cpu_s));
    }
    row("server CPU", "%.3f s of %.3f s (%.0f %%)", *r.server_cpu_s, r.measured_s,
        100 * per(*r.server_cpu_s, r.measured_s));
  }
  row("generator CPU", "%.3f s (%.0f %%)", r.generator_cpu_s, 100 * per(r.generator_cpu_s, r.measured_s));
  if (o.mode != Mode::kIdle) {
    row("latency p50", "%.3f ms", ms(r.latency.percentile(50)));
    row("        p90", "%.3f ms", ms(r.latency.percentile(90)));
    row("        p99", "%.3f ms", ms(r.latency.percentile(99)));
    row("        p99.9", "%.3f ms", ms(r.latency.percentile(99.9)));
    row("        max", "%.3f ms", ms(r.latency.max()));
    if (o.mode == Mode::kRate) {
      row("schedule",
          "%llu late by over 1 ms, %llu behind by a message or more, %llu never sent, %llu outstanding at most",
          count(r.late), count(r.behind), count(r.unsent), count(r.max_outstanding));
    }
    row("lost", "%llu", count(r.lost));
    row("duplicates", "%llu", count(r.duplicates));
    row("reordered", "%llu", count(r.reordered));
    if (r.misrouted + r.corrupt + r.foreign > 0) {
      row("other messages", "%llu misrouted, %llu corrupt, %llu not of this run", count(r.misrouted), count(r.corrupt),
          count(r.foreign));
    }
  }
  if (r.rss_before && r.rss_connected && r.rss_end) {
    row("server RSS", "%.1f MiB before, %.1f MiB connected, %.1f MiB at the end",
        static_cast<double>(*r.rss_before) / 1048576, static_cast<double>(*r.rss_connected) / 1048576,
        static_cast<double>(*r.rss_end) / 1048576);
    row("RSS a session", "%.0f bytes", per(static_cast<double>(*r.rss_connected - *r.rss_before), r.connected));
  }
  if (r.disconnects > 0) row("disconnects", "%llu", count(r.disconnects));
  if (r.errors > 0) row("errors", "%llu", count(r.errors));
  if (!r.first_error.empty()) row("first error", "%s", r.first_error.c_str());
  if (r.stalled) row("stalled", "nothing came for %.6g s", o.stall_timeout_s);
  row("result", "%s", r.good() ? "good" : "NOT GOOD");
}

// "2", "2s", "500ms" or "1m", as seconds.
CLI::Validator seconds_text() {
  return CLI::AsNumberWithUnit(std::map<std::string, double>{{"ms", 1e-3}, {"s", 1.0}, {"m", 60.0}, {"h", 3600.0}},
                               CLI::AsNumberWithUnit::CASE_SENSITIVE, "TIME");
}

}  // namespace
}  // namespace hubbub::bench

int main(int argc, char** argv) {
  using namespace hubbub::bench;
  CLI::App app("Load generator for Hubbub: connects, joins rooms, publishes, checks and counts every delivery.",
               "hubbub-bench");
  Options o;
  bool json = false;
  bool idle = false;
  bool test = false;
  app.add_option("--url", o.url, "Server; users connect to PATH/<user>, by default /ws/<user>")->capture_default_str();
  auto* connections = app.add_option("--connections", o.connections,
                                     "Sessions, each of a user of its own (default with --publish-http: 1)")
                          ->capture_default_str();
  app.add_option("--rooms", o.rooms, "Rooms that the connections are spread over evenly")->capture_default_str();
  app.add_option("--publishers", o.publishers, "Members of each room that publish")->capture_default_str();
  auto* window = app.add_option("--window", o.window, "Closed loop: messages outstanding in total")
                     ->check(CLI::Range(1U, 1'000'000U))
                     ->capture_default_str();
  auto* rate =
      app.add_option("--rate", o.rate, "Open loop: messages a second in total, latency from the scheduled time")
          ->check(CLI::Range(0.001, 1e7));
  auto* idle_flag = app.add_flag("--idle", idle, "Connect, join and hold for --duration; publish nothing");
  rate->excludes(window);
  idle_flag->excludes(window)->excludes(rate);
  auto* publish_http = app.add_flag("--publish-http", o.publish_http,
                                    "Publish by HTTP over one connection; --window counts unanswered requests");
  auto* batch = app.add_option("--batch", o.batch, "With --publish-http: messages in a request, to /api/batch")
                    ->check(CLI::Range(1U, 1000U));
  auto* api_key = app.add_option("--api-key", o.api_key, "With --publish-http: the server's API key");
  batch->needs(publish_http);
  api_key->needs(publish_http);
  publish_http->excludes(rate)->excludes(idle_flag);
  app.add_option("--size", o.size, "Bytes of a message's content")
      ->check(CLI::Range(1U, 16U << 20U))
      ->capture_default_str();
  app.add_option("--warmup", o.warmup_s, "Time before measuring, e.g. 1s")
      ->transform(seconds_text())
      ->capture_default_str();
  app.add_option("--duration", o.duration_s, "Time of measuring, e.g. 10s")
      ->transform(seconds_text())
      ->capture_default_str();
  app.add_option("--source-addresses", o.source_addresses, "Local addresses to connect from in turn, comma-separated")
      ->delimiter(',');
  app.add_option("--connect-concurrency", o.connect_concurrency, "Handshakes (and joins) under way at once")
      ->check(CLI::Range(1U, 100'000U))
      ->capture_default_str();
  app.add_option("--connect-rate", o.connect_rate, "Connects a second, 0 = as fast as it goes")->capture_default_str();
  app.add_option("--transport", o.transport, "How those who only listen attach: websocket, sse, or (with --idle) poll")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Transport>{
          {"websocket", Transport::kWebSocket}, {"sse", Transport::kSse}, {"poll", Transport::kPoll}}));
  app.add_flag("--deflate", o.deflate, "Offer permessage-deflate without context takeover");
  app.add_flag("--join,!--no-join", o.join, "Join the rooms (default); --no-join only with --idle");
  app.add_flag("--spin", o.spin, "Never sleep: steadier latencies for a core of its own");
  app.add_option("--server-pid", o.server_pid, "Process whose CPU and memory to report")->check(CLI::PositiveNumber);
  app.add_option("--user-prefix", o.user_prefix, "User ids are this and a number")->capture_default_str();
  app.add_option("--room-prefix", o.room_prefix, "Room ids are this and a number")->capture_default_str();
  app.add_option("--setup-timeout", o.setup_timeout_s, "Time for all to connect, and again to join")
      ->transform(seconds_text())
      ->capture_default_str();
  app.add_option("--stall-timeout", o.stall_timeout_s, "Silence after which what is outstanding is lost")
      ->transform(seconds_text())
      ->capture_default_str();
  app.add_flag("--json", json, "One JSON object instead of the table");
  app.add_flag("--self-test", test, "Check the generator's own parts and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (test) return self_test();
  if (o.publish_http && connections->count() == 0) o.connections = 1;
  o.mode = idle ? Mode::kIdle : rate->count() > 0 ? Mode::kRate : Mode::kWindow;
  o.progress = !json && isatty(STDERR_FILENO) != 0;
  try {
    Generator generator(o);
    const Report report = generator.run();
    json ? print_json(o, report) : print_table(o, report);
    return report.good() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hubbub-bench: %s\n", error.what());
    return 2;
  }
}
