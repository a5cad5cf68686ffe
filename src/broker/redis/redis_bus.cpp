#include "hubbub/broker/redis/redis_bus.hpp"

#include <algorithm>
#include <utility>

#include "hubbub/base/random.hpp"
#include "hubbub/base/wire.hpp"
#include "hubbub/broker/redis/errors.hpp"

namespace hubbub::broker::redis {

namespace {
constexpr std::string_view kPrefix = "hubbub:node:";
}

RedisBus::RedisBus(Client& client, const base::Clock& clock, Node& node, unsigned shard, std::int64_t wait_ms)
    : client_(client), clock_(clock), node_(node), shard_(shard), wait_ms_(wait_ms) {}

std::string RedisBus::channel_of(NodeTag node, unsigned shard) {
  return std::string(kPrefix) + base::to_hex(std::uint64_t{node}).substr(8) + ":" + std::to_string(shard);
}

bool RedisBus::is_bus_channel(std::string_view channel) { return channel.starts_with(kPrefix); }

void RedisBus::start() {
  client_.subscribe(channel_of(node_.tag(), shard_), [this](const base::Result<void>& subscribed) {
    if (!subscribed && subscribed.error() != make_error_code(RedisError::kAborted)) start();
  });
}

std::vector<NodeTag> RedisBus::others() const {
  std::vector<NodeTag> tags;
  for (const std::string& lease : node_.view().alive) {
    const NodeTag tag = Node::tag_of(lease);
    if (tag != 0 && tag != node_.tag() && std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.push_back(tag);
  }
  return tags;
}

void RedisBus::send(NodeTag node, unsigned shard, Kind kind, std::uint64_t call, std::string_view payload) {
  std::string bytes;
  bytes.reserve(payload.size() + 32);
  base::WireWriter(bytes)
      .number(static_cast<std::uint64_t>(kind))
      .number(node_.tag())
      .number(shard_)
      .number(call)
      .text(payload);
  const std::string channel = channel_of(node, shard);
  Command command(3);
  command.add(client_.publish_verb()).add(channel).add(bytes);
  client_.send(channel, std::move(command), [this, kind, call](const base::Result<Reply>& reply) {
    if (kind != Kind::kQuestion) return;
    if (!reply) return finish(call, reply.error());
    // Nobody listens: the node is not there. (A Cluster counts listeners as far as it knows them.)
    if (reply->integer() == 0) finish(call, make_error_code(RedisError::kUnavailable));
  });
}

void RedisBus::ask(NodeTag node, std::string question, Done done) {
  const std::uint64_t call = next_call_++;
  waiting_.emplace(call, Waiting{clock_.steady_ms() + wait_ms_, std::move(done)});
  send(node, 0, Kind::kQuestion, call, question);
}

void RedisBus::tell(NodeTag node, std::string message) { send(node, 0, Kind::kTold, 0, message); }

void RedisBus::finish(std::uint64_t call, base::Result<std::string> answer) {
  const auto found = waiting_.find(call);
  if (found == waiting_.end()) return;
  Done done = std::move(found->second.done);
  waiting_.erase(found);
  done(std::move(answer));
}

void RedisBus::on_message(std::string_view bytes) {
  base::WireReader in(bytes);
  const std::uint64_t kind = in.number();
  const auto from = static_cast<NodeTag>(in.number());
  const std::uint64_t shard = in.number();
  const std::uint64_t call = in.number();
  const std::string_view payload = in.text();
  if (!in.ok() || shard > 255) return;
  switch (static_cast<Kind>(kind)) {
    case Kind::kAnswer:
      return finish(call, std::string(payload));
    case Kind::kTold:
      if (handler_) handler_(from, payload, {});
      return;
    case Kind::kQuestion:
      if (!handler_) return;
      handler_(from, payload, [this, from, shard = static_cast<unsigned>(shard), call](std::string answer) {
        send(from, shard, Kind::kAnswer, call, answer);
      });
      return;
  }
}

void RedisBus::tick() {
  std::vector<std::uint64_t> late;
  for (const auto& [call, waiting] : waiting_) {
    if (waiting.until_ms <= clock_.steady_ms()) late.push_back(call);
  }
  for (const std::uint64_t call : late) finish(call, make_error_code(RedisError::kUnavailable));
}

}  // namespace hubbub::broker::redis
