#include "hubbub/hub/delivery_reports.hpp"

#include <algorithm>
#include <utility>

namespace hubbub::hub {

class DeliveryReports::Waiter : public base::Timer {
 public:
  Waiter(DeliveryReports& owner, base::SharedString whose) : reports(owner), user(std::move(whose)) {}

  DeliveryReports& reports;
  base::SharedString user;
  std::uint64_t seq = 0;  // 0: not known yet
  std::size_t index = 0;  // among those who wait for the user
  Done done;
};

DeliveryReports::DeliveryReports(runtime::Shard& shard, std::atomic<std::size_t>& waiting, std::size_t max)
    : shard_(shard), waiting_(waiting), max_(max) {}

DeliveryReports::~DeliveryReports() {
  for (const auto& [id, user] : users_) {
    for (const auto& waiter : user.waiters) shard_.wheel().cancel(*waiter);
  }
}

DeliveryReports::Waiter* DeliveryReports::open(const base::SharedString& user) {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= max_) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
  }
  auto& all = users_[user].waiters;
  all.push_back(std::make_unique<Waiter>(*this, user));
  all.back()->index = all.size() - 1;
  return all.back().get();
}

std::unique_ptr<DeliveryReports::Waiter> DeliveryReports::take(Waiter* waiter) {
  const auto user = users_.find(waiter->user);
  auto& all = user->second.waiters;
  std::unique_ptr<Waiter> taken = std::move(all[waiter->index]);
  if (all.back()) {
    all.back()->index = waiter->index;
    all[waiter->index] = std::move(all.back());
  }
  all.pop_back();
  if (all.empty()) users_.erase(user);
  shard_.wheel().cancel(*taken);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  return taken;
}

void DeliveryReports::cancel(Waiter* waiter) { take(waiter); }

void DeliveryReports::wait(Waiter* waiter, std::uint64_t seq, std::int64_t within_ms, Done done) {
  if (users_.find(waiter->user)->second.received_seq >= seq) {
    take(waiter);
    return done(true);
  }
  if (stopped_) {
    take(waiter);
    return done(false);
  }
  waiter->seq = seq;
  waiter->done = std::move(done);
  waiter->on_expire = [](base::Timer& timer) {
    auto& expired = static_cast<Waiter&>(timer);
    expired.reports.take(&expired)->done(false);
  };
  shard_.wheel().arm(*waiter, shard_.now_ms() + within_ms);
}

void DeliveryReports::received(const base::SharedString& id, std::uint64_t seq) {
  const auto user = users_.find(id);
  if (user == users_.end()) return;
  user->second.received_seq = std::max(user->second.received_seq, seq);
  std::vector<Waiter*> acked;
  for (const auto& waiter : user->second.waiters) {
    if (waiter->seq != 0 && waiter->seq <= seq) acked.push_back(waiter.get());
  }
  for (Waiter* waiter : acked) take(waiter)->done(true);
}

void DeliveryReports::stop() {
  stopped_ = true;
  std::vector<Waiter*> all;
  for (const auto& [id, user] : users_) {
    for (const auto& waiter : user.waiters) {
      if (waiter->seq != 0) all.push_back(waiter.get());  // the others are not published yet, and come to wait()
    }
  }
  for (Waiter* waiter : all) take(waiter)->done(false);
}

}  // namespace hubbub::hub
