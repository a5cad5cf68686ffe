#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace hubbub::base {

template <class Signature, std::size_t Capacity = 64>
class InlineFunction;

/// A move-only callable that never allocates: what is captured must fit in `Capacity` bytes (checked when compiled).
/// Mailboxes hold vectors of them, so a message between shards costs no heap block.
template <class R, class... Args, std::size_t Capacity>
class InlineFunction<R(Args...), Capacity> {
 public:
  InlineFunction() noexcept = default;

  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, InlineFunction> && std::is_invocable_r_v<R, F&, Args...>)
      InlineFunction(F&& f) {  // NOLINT(google-explicit-constructor): a callable converts, as with std::function
    using Target = std::remove_cvref_t<F>;
    static_assert(sizeof(Target) <= Capacity, "capture less, or raise Capacity");
    static_assert(alignof(Target) <= alignof(std::max_align_t));
    static_assert(std::is_nothrow_move_constructible_v<Target>);
    new (storage_) Target(std::forward<F>(f));
    static constexpr Operations kOperations{
        [](void* self, Args&&... args) -> R { return (*static_cast<Target*>(self))(std::forward<Args>(args)...); },
        [](void* from, void* to) noexcept {
          auto* source = static_cast<Target*>(from);
          if (to != nullptr) new (to) Target(std::move(*source));
          source->~Target();
        }};
    operations_ = &kOperations;
  }

  InlineFunction(InlineFunction&& other) noexcept : operations_(std::exchange(other.operations_, nullptr)) {
    if (operations_ != nullptr) operations_->relocate(other.storage_, storage_);
  }
  InlineFunction& operator=(InlineFunction&& other) noexcept {
    if (this != &other) {
      reset();
      operations_ = std::exchange(other.operations_, nullptr);
      if (operations_ != nullptr) operations_->relocate(other.storage_, storage_);
    }
    return *this;
  }
  InlineFunction(const InlineFunction&) = delete;
  InlineFunction& operator=(const InlineFunction&) = delete;
  ~InlineFunction() { reset(); }

  explicit operator bool() const noexcept { return operations_ != nullptr; }
  R operator()(Args... args) { return operations_->invoke(storage_, std::forward<Args>(args)...); }

 private:
  struct Operations {
    R (*invoke)(void*, Args&&...);
    void (*relocate)(void* from, void* to) noexcept;  // to == nullptr: only destroy
  };
  void reset() noexcept {
    if (operations_ != nullptr) std::exchange(operations_, nullptr)->relocate(storage_, nullptr);
  }

  const Operations* operations_ = nullptr;
  alignas(std::max_align_t) unsigned char storage_[Capacity];
};

}  // namespace hubbub::base
