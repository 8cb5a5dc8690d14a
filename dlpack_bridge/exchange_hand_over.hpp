#pragma once

#include <algorithm>
#include <vector>

#include <dlpack_bridge/exchange.hpp>

namespace dlpack_bridge::detail {

/// Strides in bytes, for the copy and for address questions.
class byte_strides_of {
 public:
  explicit byte_strides_of(const tensor_view& view, std::int64_t itemsize, bool in_bytes = false) {
    const std::int64_t step = std::max<std::int64_t>(itemsize, 1);
    const auto ndim = static_cast<std::size_t>(view.ndim());
    if (ndim > std::size(inline_)) overflow_.resize(ndim);
    values_ = ndim > std::size(inline_) ? overflow_.data() : inline_;
    if (view.strides() == nullptr) {
      row_major_strides(view.shape(), values_, step);
      return;
    }
    for (std::size_t i = 0; i < ndim; ++i) {
      // A stride that overflows belongs to an axis of extent 1: validate refused the others.
      if (in_bytes) values_[i] = view.strides()[i];
      else if (__builtin_mul_overflow(view.strides()[i], step, &values_[i])) values_[i] = 0;
    }
  }
  explicit byte_strides_of(const description& s)
      : byte_strides_of(s.view, s.itemsize, s.byte_strides) {}
  byte_strides_of(const byte_strides_of&) = delete;
  byte_strides_of& operator=(const byte_strides_of&) = delete;
  const extent* get() const noexcept { return values_; }

 private:
  extent inline_[16];
  std::vector<extent> overflow_;
  extent* values_;
};

/// RELEASE order: an owner of memory that a device uses. `where` is the device of the user's stream;
/// memory that no device uses comes back as it is. Does not synchronise, nor does dropping it.
owner lend(owner memory, const tensor_view& view, device where, loan terms);

}  // namespace dlpack_bridge::detail
