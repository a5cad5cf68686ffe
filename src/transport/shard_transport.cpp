#include "hubbub/transport/shard_transport.hpp"

#include <unistd.h>

#include "hubbub/transport/http_connection.hpp"
#include "hubbub/transport/http_session.hpp"

namespace hubbub::transport {

bool AddressCounts::try_add(std::uint64_t address_hash, std::size_t max) {
  const std::lock_guard lock(mutex_);
  std::uint32_t& count = counts_[address_hash];
  if (max != 0 && count >= max) return false;
  ++count;
  return true;
}

void AddressCounts::remove(std::uint64_t address_hash) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(address_hash);
  if (found != counts_.end() && --found->second == 0) counts_.erase(found);
}

ShardTransport::ShardTransport(TransportContext& context, runtime::Shard& shard) : context_(context), shard_(shard) {}

ShardTransport::~ShardTransport() {
  while (!http_sessions_.empty()) delete http_sessions_.begin()->second;
  while (!connections_.empty()) delete connections_.back();
}

protocol::Deflater& ShardTransport::echo_deflater() {
  if (!echo_deflater_) echo_deflater_ = std::make_unique<protocol::Deflater>(1);
  return *echo_deflater_;
}

void ShardTransport::accept(int fd, std::uint64_t address_hash) {
  // The listener counted it, so that it could choose the next shard before this one heard of it.
  shard_.connection_count().fetch_sub(1, std::memory_order_relaxed);
  if (context_.stopping.load()) {  // begin_stop() may have been here; nobody would tell this one
    if (address_hash != 0) context_.addresses.remove(address_hash);
    ::close(fd);
    return;
  }
  auto* connection = new HttpConnection(*this, fd, address_hash);
  connection->start();
}

void ShardTransport::answer(std::uint64_t deferred_id, const HttpResponse& response) {
  const auto found = deferred_.find(deferred_id);
  if (found != deferred_.end()) found->second->answer_deferred(response);
}

HttpSession* ShardTransport::find_http_session(hub::SessionId id) const {
  const auto found = http_sessions_.find(id);
  return found == http_sessions_.end() ? nullptr : found->second;
}

HttpSession* ShardTransport::find_plain_poll(const base::SharedString& user) const {
  const auto found = plain_polls_.find(user);
  return found == plain_polls_.end() ? nullptr : found->second;
}

void ShardTransport::begin_stop() {
  std::vector<HttpSession*> sessions;
  sessions.reserve(http_sessions_.size());
  for (const auto& [id, session] : http_sessions_) sessions.push_back(session);
  for (HttpSession* session : sessions) session->on_stop();
  // on_stop may close at once, but a closed connection leaves the list only at the end of the turn.
  for (std::size_t i = 0; i < connections_.size(); ++i) connections_[i]->on_stop();
}

TransportConnection::TransportConnection(ShardTransport& transport, int fd, std::uint64_t address_hash)
    : Channel(transport.shard_, fd),
      index_(static_cast<std::uint32_t>(transport.connections_.size())),
      transport_(transport),
      address_hash_(address_hash) {
  transport_.connections_.push_back(this);
  shard().connection_count().fetch_add(1, std::memory_order_relaxed);
}

TransportConnection::TransportConnection(TransportConnection& from)
    : Channel(static_cast<Channel&>(from)),
      index_(static_cast<std::uint32_t>(from.transport_.connections_.size())),
      transport_(from.transport_),
      address_hash_(std::exchange(from.address_hash_, 0)) {
  transport_.connections_.push_back(this);
  shard().connection_count().fetch_add(1, std::memory_order_relaxed);
}

int TransportConnection::release_to_other_shard() {
  address_hash_ = 0;
  return release();
}

TransportConnection::~TransportConnection() {
  auto& all = transport_.connections_;
  all[index_] = all.back();
  all[index_]->index_ = index_;
  all.pop_back();
  if (all.capacity() > 1024 && all.size() * 4 < all.capacity()) all.shrink_to_fit();
  shard().connection_count().fetch_sub(1, std::memory_order_relaxed);
  if (address_hash_ != 0) transport_.context_.addresses.remove(address_hash_);
}

}  // namespace hubbub::transport
