#include "hubbub/hub/user_counts.hpp"

#include <algorithm>

namespace hubbub::hub {

bool UserCounts::contains(const base::SharedString& user) const {
  if (index_) return index_->contains(user);
  return std::any_of(list_.begin(), list_.end(), [&](const auto& entry) { return entry.first == user; });
}

bool UserCounts::add(const base::SharedString& user) {
  if (index_) return (*index_)[user]++ == 0;
  for (auto& [known, count] : list_) {
    if (known == user) {
      ++count;
      return false;
    }
  }
  if (list_.size() < kMaxList) {
    list_.emplace_back(user, 1);
    return true;
  }
  index_ = std::make_unique<Index>();
  for (auto& [known, count] : list_) index_->emplace(std::move(known), count);
  list_.clear();
  list_.shrink_to_fit();
  index_->emplace(user, 1);
  return true;
}

bool UserCounts::remove(const base::SharedString& user) {
  if (index_) {
    const auto found = index_->find(user);
    if (found == index_->end() || --found->second != 0) return false;
    index_->erase(found);
    return true;
  }
  for (auto entry = list_.begin(); entry != list_.end(); ++entry) {
    if (entry->first != user) continue;
    if (--entry->second != 0) return false;
    list_.erase(entry);
    return true;
  }
  return false;
}

}  // namespace hubbub::hub
