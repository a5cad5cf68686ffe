#include "hubbub/hub/connection_manager.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "hubbub/base/random.hpp"
#include "hubbub/hub/home_shard.hpp"
#include "hubbub/hub/session_shard.hpp"

namespace hubbub::hub {

ConnectionManager::ConnectionManager(runtime::ShardPool& shards, Limits limits, const BackendFactory& make_backend)
    : shards_(shards), limits_(std::move(limits)) {
  base::random_bytes(key_secret_);
  (void)session_key(0);  // OpenSSL loads 2 MB at its first use; not during the first client's handshake
  for (unsigned i = 0; i < shards_.size(); ++i) {
    sessions_.push_back(std::make_unique<SessionShard>(*this, shards_[i]));
    homes_.push_back(std::make_unique<HomeShard>(*this, shards_[i], make_backend));
  }
  if (broker::NodeBus* bus = homes_[0]->backend().bus()) {
    node_ = bus->self();
    bus->set_handler([this](broker::NodeTag, std::string_view question, broker::NodeBus::Answer answer) {
      answer_node(question, std::move(answer));
    });
  }
}

ConnectionManager::~ConnectionManager() = default;

SessionShard& ConnectionManager::sessions(const runtime::Shard& shard) { return *sessions_[shard.index()]; }

const Counters& ConnectionManager::counters(unsigned shard) const { return sessions_[shard]->counters(); }

std::uint64_t ConnectionManager::session_count() const {
  std::uint64_t sum = 0;
  for (const auto& side : sessions_) sum += side->counters().sessions.get();
  return sum;
}

void ConnectionManager::begin_stop() {
  stopping_.store(true, std::memory_order_relaxed);
  for (unsigned index = 0; index < shards_.size(); ++index) {
    post_home_at(index, [](HomeShard& home) { home.begin_stop(); });
  }
}

void ConnectionManager::post_event(unsigned index, TopicKind kind, const base::SharedString& topic,
                                   const EventRef& event) {
  SessionShard* side = sessions_[index].get();
  if (shards_[index].try_post([side, kind, topic, event] { side->deliver(kind, topic, event); })) return;
  if (event->lane == Lane::kKept) {
    side->owe(kind, topic, event->seq);
  } else {
    side->count_dropped();
  }
}

void ConnectionManager::post_signal(SessionId session, std::shared_ptr<const std::string> json) {
  const unsigned index = shard_of(session);
  SessionShard* side = sessions_[index].get();
  if (!shards_[index].try_post([side, session, json = std::move(json)] { side->signalled(session, *json); })) {
    side->count_dropped();
  }
}

std::string ConnectionManager::session_key(SessionId id) const {
  const std::string text = base::to_hex(id);
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_secret_.data(), static_cast<int>(key_secret_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return base::to_hex(std::span<const unsigned char>(mac, 16));
}

std::uint64_t ConnectionManager::session_key_tag(SessionId id) const {
  return std::stoull(session_key(id).substr(0, 16), nullptr, 16);
}

bool ConnectionManager::is_ready() const {
  for (const auto& home : homes_) {
    if (!home->backend().is_ready()) return false;
  }
  return true;
}

void ConnectionManager::leave(base::InlineFunction<void()> done) {
  auto kept = std::make_shared<base::InlineFunction<void()>>(std::move(done));
  post_home_at(0, [kept](HomeShard& home) { home.backend().leave([kept] { (*kept)(); }); });
}

}  // namespace hubbub::hub
