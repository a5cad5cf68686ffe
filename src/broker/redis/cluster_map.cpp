#include "hubbub/broker/redis/cluster_map.hpp"

#include <charconv>
#include <cstdint>
#include <string>

#include "hubbub/broker/redis/slot.hpp"

namespace hubbub::broker::redis {

namespace {

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::vector<SlotRange> parse_cluster_slots(const Reply& reply, const Endpoint& asked) {
  std::vector<SlotRange> ranges;
  for (std::size_t i = 0; i < reply.size(); ++i) {
    const Reply entry = reply[i];
    if (entry[0].kind() != Reply::Kind::kInteger || entry[1].kind() != Reply::Kind::kInteger) continue;
    const auto first = entry[0].integer(), last = entry[1].integer(), port = entry[2][1].integer();
    if (first < 0 || first > last || last >= kSlots || port <= 0 || port > 65'535) continue;
    const std::string_view host = entry[2][0].text();
    const bool unknown = host.empty() || host == "?";
    ranges.push_back({static_cast<unsigned>(first),
                      static_cast<unsigned>(last),
                      {unknown ? asked.host : std::string(host), static_cast<std::uint16_t>(port)}});
  }
  return ranges;
}

std::optional<Redirect> parse_redirect(std::string_view error, const Endpoint& asked) {
  Redirect redirect;
  if (error.starts_with("ASK ")) {
    redirect.ask = true;
    error.remove_prefix(4);
  } else if (error.starts_with("MOVED ")) {
    error.remove_prefix(6);
  } else {
    return std::nullopt;
  }
  const auto space = error.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto slot = number_in<unsigned>(error.substr(0, space));
  std::string_view where = error.substr(space + 1);
  where = where.substr(0, where.find(' '));
  const auto colon = where.rfind(':');
  if (!slot || *slot >= kSlots || colon == std::string_view::npos) return std::nullopt;
  const auto port = number_in<std::uint16_t>(where.substr(colon + 1));
  if (!port || *port == 0) return std::nullopt;
  const std::string_view host = where.substr(0, colon);
  redirect.slot = *slot;
  redirect.target = {host.empty() || host == "?" ? asked.host : std::string(host), *port};
  return redirect;
}

}  // namespace hubbub::broker::redis
