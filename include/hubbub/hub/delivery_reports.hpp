#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/shared_string.hpp"
#include "hubbub/base/timing_wheel.hpp"
#include "hubbub/runtime/shard.hpp"

namespace hubbub::hub {

/// Who waits until a user's sessions have said `received`. One a home shard, for the users whose home it is; all shards
/// share the number of those who wait, which is bounded. [home shard]
class DeliveryReports {
 public:
  using Done = base::InlineFunction<void(bool acked), 64>;

  DeliveryReports(runtime::Shard& shard, std::atomic<std::size_t>& waiting, std::size_t max);
  ~DeliveryReports();
  DeliveryReports(const DeliveryReports&) = delete;
  DeliveryReports& operator=(const DeliveryReports&) = delete;

  /// One who waits. It is made before its event is published, because the user may answer before the publisher is.
  class Waiter;

  /// Null when too many wait. It ends by wait() or by cancel().
  Waiter* open(const base::SharedString& user);
  void cancel(Waiter* waiter);
  /// `done` runs when the user has received up to `seq` (perhaps at once), or after `within_ms`.
  void wait(Waiter* waiter, std::uint64_t seq, std::int64_t within_ms, Done done);

  void received(const base::SharedString& user, std::uint64_t seq);

  /// The server stops: nobody waits any more, and whoever comes is answered at once.
  void stop();

 private:
  struct User {
    std::vector<std::unique_ptr<Waiter>> waiters;
    std::uint64_t received_seq = 0;  // since the first of them came
  };
  std::unique_ptr<Waiter> take(Waiter* waiter);

  runtime::Shard& shard_;
  std::atomic<std::size_t>& waiting_;
  const std::size_t max_;
  bool stopped_ = false;
  boost::unordered_flat_map<base::SharedString, User, base::SharedStringHash, base::SharedStringEqual> users_;
};

}  // namespace hubbub::hub
