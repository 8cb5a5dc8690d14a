#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <dlpack_bridge/layout.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge {

/// Copies shape and strides; strides that mean nothing are rewritten.
inline void copy_axes(const tensor_view& view, extent* to_shape, extent* to_strides) noexcept {
  const std::span<const extent> shape = view.shape();
  const extent* const strides = view.strides();
  bool all_count = true;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    to_shape[i] = shape[i];
    if (strides != nullptr) to_strides[i] = strides[i];
    all_count = all_count && shape[i] > 1;
  }
  if (strides == nullptr) row_major_strides(shape, to_strides);
  else if (!all_count) canonical_strides(shape, strides, to_strides);
}

/// Shape and strides of a typed view. A view without strides is row-major; strides of axes of extent
/// 1 and of empty arrays are rewritten, as everywhere in the hub.
template <int Rank>
class array_axes {
  static constexpr auto rank = static_cast<std::size_t>(Rank);

 public:
  constexpr array_axes() noexcept = default;
  /// Precondition: the view has `Rank` axes.
  explicit array_axes(const tensor_view& view) noexcept {
    copy_axes(view, shape_.data(), strides_.data());
  }

  std::span<const extent, rank> shape() const noexcept { return shape_; }
  std::span<const extent, rank> strides() const noexcept { return strides_; }

 private:
  std::array<extent, rank> shape_{};
  std::array<extent, rank> strides_{};
};

/// The same for a rank that is known at run time: without an allocation up to four axes.
template <>
class array_axes<-1> {
 public:
  array_axes() noexcept = default;
  explicit array_axes(const tensor_view& view)
      : ndim_(static_cast<std::size_t>(view.ndim())), large_(room_for(ndim_)) {
    copy_axes(view, values(), values() + ndim_);
  }
  array_axes(const array_axes& other)
      : ndim_(other.ndim_), small_(other.small_), large_(room_for(ndim_)) {
    if (large_) std::copy_n(other.large_.get(), 2 * ndim_, large_.get());
  }
  array_axes(array_axes&& other) noexcept
      : ndim_(std::exchange(other.ndim_, 0)), small_(other.small_),
        large_(std::move(other.large_)) {}
  array_axes& operator=(array_axes other) noexcept {
    ndim_ = other.ndim_;
    small_ = other.small_;
    large_ = std::move(other.large_);
    return *this;
  }
  ~array_axes() = default;

  std::span<const extent> shape() const noexcept { return {values(), ndim_}; }
  std::span<const extent> strides() const noexcept { return {values() + ndim_, ndim_}; }

 private:
  static constexpr std::size_t most_inline = 4;

  static std::unique_ptr<extent[]> room_for(std::size_t ndim) {
    return ndim > most_inline ? std::make_unique<extent[]>(2 * ndim) : nullptr;
  }
  const extent* values() const noexcept { return large_ ? large_.get() : small_.data(); }
  extent* values() noexcept { return large_ ? large_.get() : small_.data(); }

  std::size_t ndim_ = 0;
  std::array<extent, 2 * most_inline> small_{};
  std::unique_ptr<extent[]> large_;  // a vector would be two words more to move
};

/// Bytes from the handle of a device to the first element.
template <bool MayBeHandle>
class handle_offset {
 public:
  constexpr handle_offset() noexcept = default;
  constexpr explicit handle_offset(std::uint64_t bytes) noexcept : bytes_(bytes) {}
  constexpr std::uint64_t get() const noexcept { return bytes_; }

 private:
  std::uint64_t bytes_ = 0;
};

/// No room for what memory with an address has not.
template <>
class handle_offset<false> {
 public:
  constexpr handle_offset() noexcept = default;
  constexpr explicit handle_offset(std::uint64_t) noexcept {}
  constexpr std::uint64_t get() const noexcept { return 0; }
};

}  // namespace dlpack_bridge
