#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace hubbub::base {

/// An immutable string of one pointer with its hash kept beside it: user and room ids live in many tables and travel
/// between shards, so a copy must cost a counter and a lookup must not hash again. Length at most 4 GiB. [any thread]
class SharedString {
 public:
  SharedString() noexcept = default;
  explicit SharedString(std::string_view text);
  SharedString(const SharedString& other) noexcept : rep_(other.rep_) {
    if (rep_ != nullptr) rep_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  SharedString(SharedString&& other) noexcept : rep_(std::exchange(other.rep_, nullptr)) {}
  SharedString& operator=(SharedString other) noexcept {
    std::swap(rep_, other.rep_);
    return *this;
  }
  ~SharedString() { release(); }

  std::string_view view() const noexcept {
    return rep_ == nullptr ? std::string_view{} : std::string_view(rep_->text(), rep_->size);
  }
  bool empty() const noexcept { return rep_ == nullptr || rep_->size == 0; }
  std::uint64_t hash() const noexcept { return rep_ == nullptr ? hash_of({}) : spread(rep_->hash); }

  /// The hash that decides the home shard of an id, so it must be the same for all shards of a process.
  static std::uint64_t hash_of(std::string_view text) noexcept { return spread(short_hash(text)); }

  friend bool operator==(const SharedString& a, const SharedString& b) noexcept {
    return a.rep_ == b.rep_ || (a.hash() == b.hash() && a.view() == b.view());
  }

 private:
  struct Rep {
    std::atomic<std::uint32_t> refs;
    std::uint32_t size;
    std::uint32_t hash;  // half of it kept: four bytes less put most ids into the next smaller heap block
    char* text() noexcept { return reinterpret_cast<char*>(this + 1); }
  };
  static std::uint32_t short_hash(std::string_view text) noexcept;
  static constexpr std::uint64_t spread(std::uint32_t hash) noexcept { return hash * 0x9e3779b97f4a7c15ULL; }
  void release() noexcept;

  Rep* rep_ = nullptr;
};

/// Transparent hash and equality: tables keyed by SharedString are searched by string_view without making one.
struct SharedStringHash {
  using is_transparent = void;
  using is_avalanching = void;
  std::size_t operator()(const SharedString& s) const noexcept { return s.hash(); }
  std::size_t operator()(std::string_view s) const noexcept { return SharedString::hash_of(s); }
};
struct SharedStringEqual {
  using is_transparent = void;
  bool operator()(const SharedString& a, const SharedString& b) const noexcept { return a == b; }
  bool operator()(const SharedString& a, std::string_view b) const noexcept { return a.view() == b; }
  bool operator()(std::string_view a, const SharedString& b) const noexcept { return a == b.view(); }
};

}  // namespace hubbub::base
