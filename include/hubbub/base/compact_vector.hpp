#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace hubbub::base {

/// A list that nearly always has one element, or none: that one lies inside, and all else there is takes five bytes.
/// Of more elements it keeps a heap block of the next power of two, until it goes. Adding and erasing move elements.
template <class T>
class CompactVector {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_default_constructible_v<T>);

 public:
  CompactVector() noexcept = default;
  CompactVector(const CompactVector&) = delete;
  CompactVector& operator=(const CompactVector&) = delete;
  ~CompactVector() { release(); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T* data() noexcept { return capacity_bits_ == 0 ? &storage_.one : storage_.many; }
  const T* data() const noexcept { return capacity_bits_ == 0 ? &storage_.one : storage_.many; }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size_; }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size_; }
  T& operator[](std::size_t index) noexcept { return data()[index]; }
  const T& operator[](std::size_t index) const noexcept { return data()[index]; }

  void push_back(T item) {
    if (size_ == std::size_t{1} << capacity_bits_) grow();
    data()[size_++] = item;
  }
  void pop_back() noexcept { --size_; }
  void erase(T* item) noexcept {
    std::copy(item + 1, end(), item);
    --size_;
  }

 private:
  void grow() {
    T* const many = new T[std::size_t{2} << capacity_bits_];
    std::copy_n(data(), size_, many);
    release();
    storage_.many = many;
    ++capacity_bits_;
  }
  void release() noexcept {
    if (capacity_bits_ != 0) delete[] storage_.many;
  }

  union Storage {
    T one;
    T* many;
  } storage_;
  std::uint32_t size_ = 0;
  std::uint8_t capacity_bits_ = 0;  // 2^this is what fits; 0: no heap block
};

}  // namespace hubbub::base
