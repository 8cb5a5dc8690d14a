#pragma once

#include <cstddef>
#include <iterator>
#include <span>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge {

/// Visits the elements of a strided array in row-major order. Shape and strides are borrowed from the
/// array, which must outlive it and stay where it is.
template <class T>
class array_iterator {
 public:
  using iterator_concept = std::forward_iterator_tag;
  using iterator_category = std::forward_iterator_tag;
  using value_type = std::remove_cv_t<T>;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;

  array_iterator() noexcept = default;
  array_iterator(T* data, std::span<const extent> shape, std::span<const extent> strides,
                 extent position) noexcept
      : first_(data), at_(data), shape_(shape), strides_(strides), position_(position) {}

  reference operator*() const noexcept { return *at_; }
  pointer operator->() const noexcept { return at_; }
  array_iterator& operator++() noexcept {
    ++position_;
    if (!shape_.empty() && ++inner_ < shape_.back()) at_ += strides_.back();
    else start_row();
    return *this;
  }
  array_iterator operator++(int) noexcept {
    array_iterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const array_iterator& a, const array_iterator& b) noexcept {
    return a.position_ == b.position_;
  }

 private:
  // The first element of the row that the position is in.
  void start_row() noexcept {
    inner_ = 0;
    at_ = first_;
    if (shape_.empty()) return;
    extent row = position_ / shape_.back();
    for (std::size_t axis = shape_.size() - 1; axis-- > 0; row /= shape_[axis]) {
      at_ += row % shape_[axis] * strides_[axis];
    }
  }

  T* first_ = nullptr;
  T* at_ = nullptr;
  std::span<const extent> shape_;
  std::span<const extent> strides_;
  extent position_ = 0;
  extent inner_ = 0;
};

}  // namespace dlpack_bridge
