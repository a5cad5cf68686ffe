#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "hubbub/base/shared_string.hpp"

namespace hubbub::hub {

/// The users of a room, each with the number of their sessions in it. Most rooms are small, and there may be many, so
/// the first user needs no heap block and the next few are a plain list.
class UserCounts {
 public:
  std::size_t size() const;
  bool contains(const base::SharedString& user) const;
  /// True when it is the user's first session.
  bool add(const base::SharedString& user);
  /// True when it was the user's last session. A user who is not there is no one's last.
  bool remove(const base::SharedString& user);
  /// At most `max` users, in no order.
  template <class F>
  void for_some(std::size_t max, F&& f) const {
    if (many_ && !many_->index.empty()) {
      for (const auto& [user, count] : many_->index) {
        if (max == 0) return;
        --max;
        f(user);
      }
      return;
    }
    if (max == 0) return;
    if (first_count_ != 0) {
      --max;
      f(first_);
    }
    if (!many_) return;
    for (const auto& [user, count] : many_->list) {
      if (max == 0) return;
      --max;
      f(user);
    }
  }

 private:
  static constexpr std::size_t kMaxList = 16;
  struct Many {
    std::vector<std::pair<base::SharedString, std::uint32_t>> list;
    // When it is in use everybody is in it, and the list and first_ are empty.
    boost::unordered_flat_map<base::SharedString, std::uint32_t, base::SharedStringHash, base::SharedStringEqual> index;
  };
  base::SharedString first_;
  std::unique_ptr<Many> many_;
  std::uint32_t first_count_ = 0;  // last: the padding behind it is the room's
};

}  // namespace hubbub::hub
