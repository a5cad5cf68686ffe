#include "hubbub/app/command_line.hpp"

#include <spdlog/fmt/fmt.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

namespace hubbub::app {
namespace {

constexpr int kBadUse = 2;
constexpr std::size_t kFileMaxBytes = 1024 * 1024;
constexpr std::string_view kFromFile = "file ";  // how the origin of a file's setting starts
constexpr std::string_view kSpace = " \t\r";

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

std::string unknown(std::string_view what, std::string_view name, std::string_view key, bool as_flag) {
  std::string near(nearest_key(key));
  if (near.empty()) return fmt::format("unknown {} {}", what, shown_value(name));
  if (as_flag) near = flag_name(*find_setting(near));
  return fmt::format("unknown {} {}; did you mean {}?", what, shown_value(name), near);
}

// ---- the file ----

// CLI11's TOML reader cuts at a # inside quotes, stumbles over blanks around commas, keeps no line numbers and forgets
// what was quoted. So it gets one cleaned line at a time: no comments, arrays joined, blanks only inside of strings.
struct Line {
  std::size_t number = 0;
  std::string text;
};

std::variant<std::vector<Line>, std::string> clean_lines(std::string_view content) {
  std::vector<Line> lines;
  std::string joined;
  std::size_t number = 0, started = 0;
  bool array = false;
  const auto problem = [&](std::string_view text) { return fmt::format("{}: {}", number, text); };
  while (!content.empty()) {
    const auto end = std::min(content.find('\n'), content.size());
    const auto line = trim(content.substr(0, end));
    content.remove_prefix(std::min(end + 1, content.size()));
    ++number;
    if (!array) {
      started = number;
      joined.clear();
    }
    char quote = 0;
    bool after_equals = array;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (quote) {
        if (c == '\\' && quote == '"') {
          if (i + 1 == line.size() || (line[i + 1] != '"' && line[i + 1] != '\\')) {
            return problem("of escapes only \\\" and \\\\ are known: use '...' for a value with backslashes");
          }
          joined += c;
          joined += line[++i];
          continue;
        }
        if (c == quote) quote = 0;
      } else if (c == '#') {
        break;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '=' && !after_equals) {
        after_equals = true;
        const auto next = line.find_first_not_of(kSpace, i + 1);
        array = next != std::string_view::npos && line[next] == '[';
      } else if (c == ']' && array) {
        array = false;
      } else if (array && kSpace.find(c) != std::string_view::npos) {
        continue;
      }
      joined += c;
    }
    if (quote) return problem("a string is not closed");
    if (!array && !trim(joined).empty()) lines.push_back({started, std::string(trim(joined))});
  }
  if (array) return fmt::format("{}: an array is not closed", started);
  return lines;
}

// Takes a "..." or '...' off the front of `rest`; nullopt when there is none.
std::optional<std::string> take_string(std::string_view& rest) {
  if (rest.empty() || (rest.front() != '"' && rest.front() != '\'')) return std::nullopt;
  const char quote = rest.front();
  std::string value;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      rest.remove_prefix(i + 1);
      return value;
    }
    if (quote == '"' && rest[i] == '\\' && i + 1 < rest.size()) ++i;
    value += rest[i];
  }
  return std::nullopt;
}

bool is_quoted(std::string_view text) { return take_string(text) && text.empty(); }

// The strings of an array or of a text; after check_toml_type().
std::vector<std::string> strings_of(std::string_view raw) {
  std::vector<std::string> values;
  if (raw.front() == '[') raw = raw.substr(1, raw.size() - 2);
  while (auto value = take_string(raw)) {
    values.push_back(std::move(*value));
    if (!raw.empty()) raw.remove_prefix(1);
  }
  return values;
}

// What TOML calls a wrong type, before the value itself is looked at.
Problem check_toml_type(const SettingRow& row, std::string_view raw) {
  switch (row.type) {
    case SettingType::kList: {
      if (raw.front() != '[' || raw.back() != ']') return "needs an array such as [\"a\", \"b\"]";
      auto rest = raw.substr(1, raw.size() - 2);
      while (!rest.empty()) {
        if (!take_string(rest)) return "needs quoted text in its array";
        if (!rest.empty() && rest.front() != ',') return "lacks a comma in its array";
        if (!rest.empty()) rest.remove_prefix(1);
      }
      return {};
    }
    case SettingType::kText:
      return is_quoted(raw) ? Problem{} : "needs text in quotes";
    case SettingType::kFlag:
      return raw == "true" || raw == "false" ? Problem{} : "needs true or false, without quotes";
    case SettingType::kCount:
      return raw.front() == '[' || is_quoted(raw) ? "needs a number, without quotes" : Problem{};
    default: {
      const bool plain = raw.find_first_not_of("0123456789_") == std::string_view::npos;
      return is_quoted(raw) || plain ? Problem{} : "needs a plain number, or a number and its unit in quotes";
    }
  }
}

Problem apply_line(const Line& line, std::span<const SettingRow> table, Settings& settings,
                   std::vector<std::string>& origins, const std::string& origin) {
  const auto equals = line.text.find('=');
  if (line.text.front() == '[' && equals == std::string::npos) {
    return shown_value(line.text) + " opens a section; there are none, all keys stand at the top";
  }
  const auto raw =
      equals == std::string::npos ? std::string_view{} : trim(std::string_view(line.text).substr(equals + 1));
  if (raw.empty() || trim(std::string_view(line.text).substr(0, equals)).empty()) {
    return shown_value(line.text) + " is not key = value";
  }

  CLI::ConfigTOML toml;
  toml.comment('\0');
  std::istringstream stream(line.text);
  const auto items = toml.from_config(stream);
  const std::string key = items.empty() ? line.text.substr(0, equals) : items.front().fullname();
  const auto row = std::find_if(table.begin(), table.end(), [&](const SettingRow& r) { return r.key == key; });
  if (row == table.end()) return unknown("key", trim(key), trim(key), false);
  auto& known_origin = origins[static_cast<std::size_t>(row - table.begin())];
  if (known_origin.starts_with(kFromFile))
    return fmt::format("{} stands a second time, first in {}", key, known_origin.substr(kFromFile.size()));
  auto problem = check_toml_type(*row, raw);
  if (problem) return fmt::format("{} {}", key, *problem);

  // CLI11 splits texts at blanks and commas, and knows no escapes.
  const bool strings = row->type == SettingType::kText || row->type == SettingType::kList;
  const auto values = strings ? strings_of(raw) : items.front().inputs;
  problem = set_setting(*row, values, settings);
  if (problem) return fmt::format("{}: {}", key, *problem);
  known_origin = origin;
  return {};
}

std::variant<std::string, std::error_code> read_file(const std::string& path) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  std::string content;
  for (std::array<char, 16 * 1024> chunk; stream && content.size() <= kFileMaxBytes;) {
    stream.read(chunk.data(), chunk.size());
    content.append(chunk.data(), static_cast<std::size_t>(stream.gcount()));
  }
  // A directory opens well and fails only when it is read.
  if (!stream.is_open() || stream.bad()) return std::error_code(errno ? errno : EIO, std::generic_category());
  if (content.size() > kFileMaxBytes) return std::make_error_code(std::errc::file_too_large);
  return content;
}

// ---- the command line ----

// One set of flags; each subcommand has its own.
struct Command {
  CLI::App* app = nullptr;
  CLI::Option* config = nullptr;
  std::vector<CLI::Option*> options;  // one a row
};

std::string wrapped(std::string_view text) {
  constexpr std::size_t kWidth = 76;
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    if (column > 0 && column + 1 + end > kWidth) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string help_text(const SettingRow& row, const Settings& defaults) {
  const auto range = range_text(row);
  return wrapped(row.text) + "\n" +
         wrapped(fmt::format("{}, default {}{}{}", environment_name(row), toml_value(row, defaults),
                             range.empty() ? "" : ", ", range)) +
         "\n";
}

Command add_command(CLI::App& app, const std::string& name, const std::string& description) {
  Command command;
  command.app = app.add_subcommand(name, description);
  command.app->allow_extras();  // reported by us, in one line
  command.app->get_formatter()->column_width(36);
  command.config = command.app->add_option("-c,--config")->type_name("FILE");
  command.config->description("Configuration file\nHUBBUB_CONFIG\n")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const Settings defaults;
  for (const SettingRow& row : settings_table()) {
    CLI::Option* option = nullptr;
    if (row.type == SettingType::kFlag) {
      option = command.app->add_flag(flag_name(row) + ",!--no-" + flag_name(row).substr(2));
    } else {
      option = command.app->add_option(flag_name(row))->type_name(std::string(type_name(row.type)));
    }
    option->description(help_text(row, defaults));
    option->group(row.hidden ? "" : std::string(row.group));
    // A flag given twice: the last one wins, so that a wrapper script's flags can be overruled. Lists add up.
    const bool list = row.type == SettingType::kList;
    option->multi_option_policy(list ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
    command.options.push_back(option);
  }
  return command;
}

// CLI11 shows what a negative flag stores, and pads empty lines.
std::string tidy(std::string help) {
  for (const std::string_view unwanted : {"{false}", " \n", "\n\n\n"}) {
    const auto kept = unwanted == "{false}" ? "" : unwanted == " \n" ? "\n" : "\n\n";
    for (auto at = help.find(unwanted); at != std::string::npos; at = help.find(unwanted)) {
      help.replace(at, unwanted.size(), kept);
    }
  }
  return help;
}

Exit bad_use(std::string_view text) { return Exit{kBadUse, fmt::format("hubbub: {}\n", text)}; }

Problem unexpected(const std::vector<std::string>& extras, bool in_command) {
  if (extras.empty()) return {};
  const auto flag = std::find_if(extras.begin(), extras.end(), [](const auto& e) { return e.starts_with("-"); });
  if (flag == extras.end()) {
    return fmt::format("{} {}", in_command ? "unexpected argument" : "unknown command", shown_value(extras.front()));
  }
  const auto name = flag->substr(0, flag->find('='));
  if (!in_command) {
    return fmt::format("{} cannot stand before the command: see hubbub --help", shown_value(name));
  }
  std::string key = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::replace(key.begin(), key.end(), '-', '_');
  return unknown("flag", name, key, true);
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> values;
  for (bool more = true; more;) {
    const auto comma = text.find(',');
    more = comma != std::string_view::npos;
    values.emplace_back(trim(text.substr(0, comma)));
    text.remove_prefix(more ? comma + 1 : 0);
  }
  return values;
}

std::string flag_for_people(const SettingRow& row, const std::string& given) {
  return row.type == SettingType::kFlag && given == "false" ? "--no-" + flag_name(row).substr(2) : flag_name(row);
}

struct Loaded {
  Settings settings;
  std::vector<std::string> origins;
  std::vector<std::string> warnings;
};

Problem load_environment(const Environment& environment, Loaded& loaded) {
  const auto table = settings_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    const auto name = environment_name(table[i]);
    const auto found = environment.find(name);
    if (found == environment.end() || found->second.empty()) continue;
    const bool list = table[i].type == SettingType::kList;
    const auto values = list ? split_list(found->second) : std::vector<std::string>{found->second};
    if (auto problem = set_setting(table[i], values, loaded.settings)) return fmt::format("{}: {}", name, *problem);
    loaded.origins[i] = "environment " + name;
  }
  for (const auto& [name, value] : environment) {
    // HUBBUB_UPDATE_DOCS belongs to the tests.
    if (!name.starts_with("HUBBUB_") || name == "HUBBUB_CONFIG" || name == "HUBBUB_UPDATE_DOCS") continue;
    std::string key = name.substr(7);
    std::transform(key.begin(), key.end(), key.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    const SettingRow* row = find_setting(key);
    if (row && environment_name(*row) == name) continue;
    const auto near = row ? row->key : nearest_key(key);
    const auto hint = near.empty() ? "" : "; did you mean " + environment_name(*find_setting(near)) + "?";
    loaded.warnings.push_back(fmt::format("unknown environment variable {} is ignored{}", shown_value(name), hint));
  }
  return {};
}

Problem load_flags(const Command& command, Loaded& loaded) {
  const auto table = settings_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (command.options[i]->count() == 0) continue;
    auto values = command.options[i]->results();
    if (table[i].type != SettingType::kList) values = {values.back()};
    const auto name = flag_for_people(table[i], values.front());
    if (auto problem = set_setting(table[i], values, loaded.settings)) return fmt::format("{}: {}", name, *problem);
    loaded.origins[i] = "flag " + name;
  }
  return {};
}

// default < file < environment < flag: each is laid over what came before it.
Problem load(const Command& command, const Environment& environment, Loaded& loaded) {
  const auto table = settings_table();
  loaded.origins.assign(table.size(), "default");
  const auto variable = environment.find("HUBBUB_CONFIG");
  std::string path = variable == environment.end() ? "" : variable->second;
  if (command.config->count() > 0) path = command.config->results().back();
  if (command.config->count() > 0 && path.empty()) return "--config: needs the name of a file";
  if (!path.empty()) {
    if (auto problem = load_file(path, table, loaded.settings, loaded.origins)) return problem;
  }
  if (auto problem = load_environment(environment, loaded)) return problem;
  return load_flags(command, loaded);
}

Problem conflict_in(const Loaded& loaded) {
  const auto conflict = find_conflict(loaded.settings);
  if (!conflict) return {};
  const auto row = static_cast<std::size_t>(find_setting(conflict->key) - settings_table().data());
  return fmt::format("{} ({}): {}", conflict->key, loaded.origins[row], conflict->text);
}

// The node that is asked may have been given more flags than the one who asks knows: so no conflicts here.
std::variant<Run, HealthCheck, Exit> health_check(const std::string& url, const Settings& settings) {
  auto target = url.empty() ? health_target(settings) : parse_health_url(url);
  if (const auto* problem = std::get_if<std::string>(&target)) return bad_use(*problem);
  return HealthCheck{std::get<HealthTarget>(std::move(target))};
}

}  // namespace

Problem load_file(const std::string& path, std::span<const SettingRow> table, Settings& settings,
                  std::vector<std::string>& origins) {
  const auto read = read_file(path);
  if (const auto* error = std::get_if<std::error_code>(&read)) {
    return fmt::format("cannot read configuration file {}: {}", shown_value(path), error->message());
  }
  std::string_view content = std::get<std::string>(read);
  if (content.starts_with("\xEF\xBB\xBF")) content.remove_prefix(3);
  const auto cleaned = clean_lines(content);
  // It goes into comments and messages of one line.
  std::string file = path;
  std::replace_if(
      file.begin(), file.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  if (const auto* problem = std::get_if<std::string>(&cleaned)) return fmt::format("{}:{}", file, *problem);
  for (const Line& line : std::get<std::vector<Line>>(cleaned)) {
    const auto place = fmt::format("{}:{}", file, line.number);
    if (auto problem = apply_line(line, table, settings, origins, std::string(kFromFile) + place)) {
      return fmt::format("{}: {}", place, *problem);
    }
  }
  return {};
}

std::string effective_config(std::span<const SettingRow> table, const Settings& settings,
                             std::span<const std::string> origins) {
  std::string out;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].hidden && origins[i] == "default") continue;
    out +=
        fmt::format("{:<52} # {}\n", fmt::format("{} = {}", table[i].key, toml_value(table[i], settings)), origins[i]);
  }
  return out;
}

std::variant<Run, HealthCheck, Exit> parse(int argc, const char* const* argv, const Environment& environment) {
  CLI::App app("Hubbub, a real-time messaging server: rooms, direct messages, presence.", "hubbub");
  app.set_version_flag("-v,--version", "hubbub " HUBBUB_VERSION);
  app.require_subcommand(0, 1);
  app.allow_extras();
  const auto serve = add_command(app, "serve", "Run the server");
  const auto check = add_command(app, "check-config", "Say whether the configuration is good, without starting");
  const auto print = add_command(app, "print-config", "Print the settings in effect and where each comes from");
  const auto health = add_command(app, "healthcheck", "Ask a running node whether it is well: exit code 0, or 1");
  std::string url;
  health.app->add_option("URL", url)
      ->description(
          "http://HOST:PORT/PATH with a numeric host\ndefault: /healthz of the first `listen`; /readyz is the other "
          "choice\n");
  app.footer("hubbub serve --help lists every setting; docs/configuration.md explains them.");

  // CLI11 takes `--log-file=` for a flag without its value; it is one with an empty value.
  std::vector<std::string> arguments;
  for (const std::string_view argument : std::span(argv, static_cast<std::size_t>(argc))) {
    const bool empty_value = argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    arguments.emplace_back(argument.substr(0, argument.size() - (empty_value ? 1 : 0)));
    if (empty_value) arguments.emplace_back();
  }
  std::vector<const char*> pointers;
  for (const auto& argument : arguments) pointers.push_back(argument.c_str());

  try {
    app.parse(static_cast<int>(pointers.size()), pointers.data());
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    return Exit{0, tidy(chosen.empty() ? app.help() : chosen.front()->help("hubbub"))};
  } catch (const CLI::CallForVersion&) {
    return Exit{0, "hubbub " HUBBUB_VERSION "\n"};
  } catch (const CLI::ParseError& error) {
    std::string text = error.what();
    std::replace(text.begin(), text.end(), '\n', ' ');
    return bad_use(text);
  }
  const auto chosen = app.get_subcommands();
  if (auto problem = unexpected(app.remaining(false), false)) return bad_use(*problem);
  if (chosen.empty()) return Exit{kBadUse, tidy(app.help())};
  const std::array commands{&serve, &check, &print, &health};
  const Command& command =
      **std::find_if(commands.begin(), commands.end(), [&](const auto* c) { return c->app == chosen.front(); });
  if (auto problem = unexpected(command.app->remaining(), true)) return bad_use(*problem);

  Loaded loaded;
  if (auto problem = load(command, environment, loaded)) return bad_use(*problem);
  if (&command == &health) return health_check(url, loaded.settings);
  if (auto problem = conflict_in(loaded)) return bad_use(*problem);
  if (&command == &check) return Exit{0, "The configuration is good.\n", std::move(loaded.warnings)};
  if (&command == &print) {
    return Exit{0, effective_config(settings_table(), loaded.settings, loaded.origins), std::move(loaded.warnings)};
  }
  return Run{std::move(loaded.settings), std::move(loaded.warnings)};
}

}  // namespace hubbub::app
