#include "hubbub/broker/redis/node.hpp"

#include <charconv>
#include <utility>

#include "hubbub/base/random.hpp"

namespace hubbub::broker::redis {

namespace {

NodeTag random_tag() {
  NodeTag tag = 0;
  while (tag == 0) tag = static_cast<NodeTag>(base::random_u64());
  return tag;
}

}  // namespace

Node::Node() : tag_(random_tag()) { view_.lease = tag_text() + "-1"; }

std::string Node::tag_text() const { return base::to_hex(std::uint64_t{tag_}).substr(8); }

Node::View Node::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

std::string Node::lease() const {
  const std::lock_guard lock(mutex_);
  return view_.lease;
}

std::uint64_t Node::forgotten() const {
  const std::lock_guard lock(mutex_);
  return view_.forgotten;
}

void Node::set_leases(std::vector<std::string> alive, std::vector<std::string> over) {
  const std::lock_guard lock(mutex_);
  view_.alive = std::move(alive);
  view_.over = std::move(over);
}

void Node::begin_next_lease() {
  const std::lock_guard lock(mutex_);
  view_.lease = tag_text() + "-" + std::to_string(++leases_);
  ++view_.forgotten;
}

NodeTag Node::tag_of(std::string_view lease) {
  NodeTag tag = 0;
  const std::string_view text = lease.substr(0, lease.find('-'));
  const auto [at, failed] = std::from_chars(text.data(), text.data() + text.size(), tag, 16);
  return failed == std::errc{} && at == text.data() + text.size() ? tag : 0;
}

}  // namespace hubbub::broker::redis
