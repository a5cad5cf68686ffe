#include "hubbub/hub/user_counts.hpp"

#include <algorithm>

namespace hubbub::hub {

std::size_t UserCounts::size() const {
  if (!many_) return first_count_ != 0 ? 1 : 0;
  return many_->index.empty() ? many_->list.size() + (first_count_ != 0 ? 1 : 0) : many_->index.size();
}

bool UserCounts::contains(const base::SharedString& user) const {
  if (first_count_ != 0 && first_ == user) return true;
  if (!many_) return false;
  if (!many_->index.empty()) return many_->index.contains(user);
  return std::any_of(many_->list.begin(), many_->list.end(), [&](const auto& entry) { return entry.first == user; });
}

bool UserCounts::add(const base::SharedString& user) {
  if (many_ && !many_->index.empty()) return many_->index[user]++ == 0;
  if (first_count_ != 0 && first_ == user) {
    ++first_count_;
    return false;
  }
  if (many_) {
    for (auto& [known, count] : many_->list) {
      if (known != user) continue;
      ++count;
      return false;
    }
  }
  if (first_count_ == 0) {
    first_ = user;
    first_count_ = 1;
    return true;
  }
  if (!many_) many_ = std::make_unique<Many>();
  if (many_->list.size() < kMaxList) {
    many_->list.emplace_back(user, 1);
    return true;
  }
  many_->index.emplace(std::move(first_), first_count_);
  first_ = {};
  first_count_ = 0;
  for (auto& [known, count] : many_->list) many_->index.emplace(std::move(known), count);
  many_->list.clear();
  many_->list.shrink_to_fit();
  many_->index.emplace(user, 1);
  return true;
}

bool UserCounts::remove(const base::SharedString& user) {
  if (first_count_ != 0 && first_ == user) {
    if (--first_count_ != 0) return false;
    first_ = {};
    return true;
  }
  if (!many_) return false;
  if (!many_->index.empty()) {
    const auto found = many_->index.find(user);
    if (found == many_->index.end() || --found->second != 0) return false;
    many_->index.erase(found);
    return true;
  }
  auto& list = many_->list;
  const auto entry = std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.first == user; });
  if (entry == list.end() || --entry->second != 0) return false;
  list.erase(entry);
  return true;
}

}  // namespace hubbub::hub
