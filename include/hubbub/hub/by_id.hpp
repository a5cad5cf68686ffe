#pragma once

#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "hubbub/base/shared_string.hpp"

namespace hubbub::hub {

/// Owns things that have a member `id`, and finds them by it. A slot is one pointer: with hundreds of thousands of
/// rooms and users the tables themselves are a good part of the memory. Addresses are stable. [shard]
template <class T>
class ById {
 public:
  T* find(const base::SharedString& id) const { return get(set_.find(id)); }
  T* find(std::string_view id) const { return get(set_.find(id)); }
  T& add(std::unique_ptr<T> item) { return **set_.insert(std::move(item)).first; }
  void erase(const T& item) {
    const auto found = set_.find(item.id);
    if (found != set_.end()) set_.erase(found);
  }
  std::size_t size() const { return set_.size(); }
  auto begin() const { return set_.begin(); }
  auto end() const { return set_.end(); }

 private:
  using Owned = std::unique_ptr<T>;
  struct Hash {
    using is_transparent = void;
    using is_avalanching = void;
    std::size_t operator()(const Owned& item) const noexcept { return item->id.hash(); }
    std::size_t operator()(const base::SharedString& id) const noexcept { return id.hash(); }
    std::size_t operator()(std::string_view id) const noexcept { return base::SharedString::hash_of(id); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Owned& a, const Owned& b) const noexcept { return a->id == b->id; }
    bool operator()(const Owned& a, const base::SharedString& b) const noexcept { return a->id == b; }
    bool operator()(const base::SharedString& a, const Owned& b) const noexcept { return a == b->id; }
    bool operator()(const Owned& a, std::string_view b) const noexcept { return a->id.view() == b; }
    bool operator()(std::string_view a, const Owned& b) const noexcept { return a == b->id.view(); }
  };
  using Set = boost::unordered_flat_set<Owned, Hash, Equal>;
  T* get(typename Set::const_iterator found) const { return found == set_.end() ? nullptr : found->get(); }

  Set set_;
};

}  // namespace hubbub::hub
