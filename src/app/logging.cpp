#include "hubbub/app/logging.hpp"

#include <fcntl.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <iterator>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "hubbub/base/log.hpp"
#include "hubbub/protocol/utf8.hpp"

namespace hubbub::app {
namespace {

std::string_view level_name(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

std::string iso_time(std::chrono::system_clock::time_point time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const std::time_t whole = seconds.count();
  std::tm utc{};
  gmtime_r(&whole, &utc);
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(since - seconds).count();
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, millis);
}

// What clients send can reach a message. In both formats a line break or an escape sequence in it stays inside its
// line.
class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(bool json) : json_(json) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string_view name(message.logger_name.data(), message.logger_name.size());
    const std::string_view text(message.payload.data(), message.payload.size());
    json_ ? json_line(message, name, text, out) : text_line(message, name, text, out);
  }

  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<LineFormatter>(json_); }

 private:
  static void json_line(const spdlog::details::log_msg& message, std::string_view name, std::string_view text,
                        spdlog::memory_buf_t& out) {
    nlohmann::ordered_json line{{"ts", iso_time(message.time)}, {"level", level_name(message.level)}};
    if (!name.empty()) line["logger"] = name;
    if (base::thread_shard() >= 0) line["shard"] = base::thread_shard();
    line["msg"] = text;
    // Bytes that are not UTF-8 become U+FFFD: the line must be JSON whatever was logged.
    fmt::format_to(std::back_inserter(out), "{}\n",
                   line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  static void text_line(const spdlog::details::log_msg& message, std::string_view name, std::string_view text,
                        spdlog::memory_buf_t& out) {
    auto to = std::back_inserter(out);
    fmt::format_to(to, "{} {:<5} ", iso_time(message.time), level_name(message.level));
    if (!name.empty()) fmt::format_to(to, "[{}] ", name);
    if (base::thread_shard() >= 0) fmt::format_to(to, "[shard {}] ", base::thread_shard());
    while (!text.empty()) {
      const std::size_t size = printable_prefix(text);
      out.append(text.data(), text.data() + size);
      text.remove_prefix(size);
      if (text.empty()) break;
      fmt::format_to(to, "\\x{:02x}", static_cast<unsigned char>(text.front()));
      text.remove_prefix(1);
    }
    out.push_back('\n');
  }

  // Bytes up to the first that is neither a printable ASCII character nor part of a printable UTF-8 one. C1 controls
  // are not: to a terminal U+009B is ESC [, in UTF-8 or as a bare byte.
  static std::size_t printable_prefix(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const std::size_t size = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
      const std::string_view character = text.substr(at, size);
      const bool control = size == 1 ? byte < 0x20 || byte == 0x7F : byte == 0xC2 && character < "\xC2\xA0";
      if (control || !protocol::is_valid_utf8(character)) break;
      at += size;
    }
    return at;
  }

  bool json_;
};

// One write(2) a line on an O_APPEND descriptor: nothing is buffered that a crash could lose, and lines of several
// writers stay whole. spdlog's own file sink cannot be reopened.
class ReopenableFileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  static std::shared_ptr<ReopenableFileSink> open(const std::string& path, std::error_code& error) {
    const int file = open_file(path, error);
    if (file < 0) return nullptr;
    return std::shared_ptr<ReopenableFileSink>(new ReopenableFileSink(path, file));
  }

  ~ReopenableFileSink() override { ::close(file_); }
  ReopenableFileSink(const ReopenableFileSink&) = delete;
  ReopenableFileSink& operator=(const ReopenableFileSink&) = delete;

  std::error_code reopen() {
    std::error_code error;
    const int fresh = open_file(path_, error);
    if (fresh < 0) return error;
    int old = fresh;
    {
      const std::lock_guard lock(mutex_);
      std::swap(old, file_);
    }
    ::close(old);
    return {};
  }

  const std::string& path() const { return path_; }

 private:
  ReopenableFileSink(std::string path, int file) : path_(std::move(path)), file_(file) {}

  static int open_file(const std::string& path, std::error_code& error) {
    // O_NONBLOCK: a named pipe without a reader must fail, not hang the start.
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
    if (file < 0) error.assign(errno, std::generic_category());
    return file;
  }

  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    for (std::size_t at = 0; at < line.size();) {
      const auto written = ::write(file_, line.data() + at, line.size() - at);
      if (written < 0 && errno == EINTR) continue;
      // spdlog tells standard error of it, at most once a second; the server goes on.
      if (written <= 0) throw spdlog::spdlog_ex("cannot write " + path_, errno);
      at += static_cast<std::size_t>(written);
    }
  }

  void flush_() override {}

  const std::string path_;
  int file_;
};

std::mutex file_sink_mutex;
std::shared_ptr<ReopenableFileSink> file_sink;

}  // namespace

Problem set_up_logging(const Settings& settings) {
  spdlog::sink_ptr sink;
  std::shared_ptr<ReopenableFileSink> file;
  if (settings.log_file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    std::error_code error;
    file = ReopenableFileSink::open(settings.log_file, error);
    if (!file) return fmt::format("cannot open log file {}: {}", shown_value(settings.log_file), error.message());
    sink = file;
  }
  sink->set_formatter(std::make_unique<LineFormatter>(settings.log_format == "json"));
  auto logger = std::make_shared<spdlog::logger>("", std::move(sink));
  logger->set_level(spdlog::level::from_str(settings.log_level));
  spdlog::set_default_logger(std::move(logger));
  const std::lock_guard lock(file_sink_mutex);
  file_sink = std::move(file);
  return {};
}

void reopen_log() {
  std::shared_ptr<ReopenableFileSink> sink;
  {
    const std::lock_guard lock(file_sink_mutex);
    sink = file_sink;
  }
  if (!sink) return;
  if (const auto error = sink->reopen()) {
    spdlog::error("cannot reopen log file {}: {}; the old one stays in use", sink->path(), error.message());
  } else {
    spdlog::info("log file {} reopened", sink->path());
  }
}

}  // namespace hubbub::app
