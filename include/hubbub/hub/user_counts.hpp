#pragma once

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "hubbub/base/shared_string.hpp"

namespace hubbub::hub {

/// The users of a room, each with the number of their sessions in it. Most rooms are small, and there may be many, so
/// the first few are a plain list.
class UserCounts {
 public:
  std::size_t size() const { return index_ ? index_->size() : list_.size(); }
  bool contains(const base::SharedString& user) const;
  /// True when it is the user's first session.
  bool add(const base::SharedString& user);
  /// True when it was the user's last session. A user who is not there is no one's last.
  bool remove(const base::SharedString& user);
  /// At most `max` users, in no order.
  template <class F>
  void for_some(std::size_t max, F&& f) const {
    if (index_) {
      for (const auto& [user, count] : *index_) {
        if (max-- == 0) return;
        f(user);
      }
    } else {
      for (const auto& [user, count] : list_) {
        if (max-- == 0) return;
        f(user);
      }
    }
  }

 private:
  static constexpr std::size_t kMaxList = 16;
  using Index = boost::unordered_flat_map<base::SharedString, std::uint32_t, base::SharedStringHash,
                                          base::SharedStringEqual>;
  boost::container::small_vector<std::pair<base::SharedString, std::uint32_t>, 1> list_;
  std::unique_ptr<Index> index_;
};

}  // namespace hubbub::hub
