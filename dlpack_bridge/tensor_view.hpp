#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge {

class managed_tensor;

/// A borrowed look at an array: no ownership, valid while its owner lives. Shape and strides stay
/// where the producer keeps them. Trivially copyable; a view of a dying owner does not compile.
class tensor_view {
 public:
  constexpr tensor_view() noexcept = default;

  /// Looks at a `DLTensor`. `byte_offset` is added to `data` except for devices whose `data` is a
  /// handle. Nothing is validated: see `managed_tensor::adopt` and `validate`.
  explicit tensor_view(const DLTensor& tensor, bool read_only = false) noexcept
      : data_(tensor.data), shape_(tensor.shape), strides_(tensor.strides), ndim_(tensor.ndim),
        dtype_(tensor.dtype), device_(tensor.device), read_only_(read_only) {
    if (tensor.byte_offset == 0) return;
    // On handle devices `data` is an object, and arithmetic on it gives a wild pointer
    // (pytorch#182924).
    if (memory_kind_of(device_.type) == memory_kind::handle) {
      byte_offset_ = tensor.byte_offset;
    } else if (tensor.data != nullptr) {
      data_ = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
    }
  }

  /// Looks at plain memory. `strides` in elements; null means row-major.
  constexpr tensor_view(void* data, const extent* shape, const extent* strides, std::int32_t ndim,
                        dlpack_bridge::dtype type, dlpack_bridge::device where = {},
                        bool read_only = false) noexcept
      : data_(data), shape_(shape), strides_(strides), ndim_(ndim), dtype_(type), device_(where),
        read_only_(read_only) {}

  tensor_view(managed_tensor&&) = delete;

  /// The same memory and shape with other strides, under another label.
  constexpr tensor_view relabelled(const extent* strides, dlpack_bridge::dtype type,
                                   dlpack_bridge::device where, bool read_only) const noexcept {
    tensor_view view = *this;
    view.strides_ = strides;
    view.dtype_ = type;
    view.device_ = where;
    view.read_only_ = read_only;
    return view;
  }

  constexpr tensor_view with_strides(const extent* strides) const noexcept {
    tensor_view view(data_, shape_, strides, ndim_, dtype_, device_, read_only_ != 0);
    view.byte_offset_ = byte_offset_;
    return view;
  }

  /// Address of the first element, `byte_offset` applied; the handle itself on handle devices.
  constexpr void* data() const noexcept { return data_; }
  /// Bytes from a handle to the first element; 0 on devices with addresses.
  constexpr std::uint64_t byte_offset() const noexcept { return byte_offset_; }
  constexpr std::int32_t ndim() const noexcept { return ndim_; }
  constexpr std::span<const extent> shape() const noexcept {
    return {shape_, static_cast<std::size_t>(ndim_)};
  }
  constexpr extent shape(int axis) const noexcept { return shape_[axis]; }
  /// In elements; null when the producer gave none (row-major).
  constexpr const extent* strides() const noexcept { return strides_; }
  constexpr dlpack_bridge::dtype dtype() const noexcept { return dtype_; }
  constexpr dlpack_bridge::device device() const noexcept { return device_; }
  constexpr bool read_only() const noexcept { return read_only_ != 0; }

  /// Number of elements. Precondition: the shape was validated.
  std::int64_t size() const noexcept;
  /// Bytes of the elements when packed densely.
  std::int64_t nbytes() const noexcept;
  bool is_c_contiguous() const noexcept;

 private:
  void* data_ = nullptr;
  const extent* shape_ = nullptr;
  const extent* strides_ = nullptr;
  std::uint64_t byte_offset_ = 0;
  std::int32_t ndim_ = 0;
  dlpack_bridge::dtype dtype_;
  dlpack_bridge::device device_;
  std::int64_t read_only_ = 0;  // a word: views without padding are copied in few instructions
};

/// Bytes that `count` elements take when packed densely. Precondition: the product fits.
constexpr std::int64_t dense_bytes(std::int64_t count, dtype type) noexcept {
  return type.is_packed() ? (count * type.element_bits() + 7) / 8 : count * type.itemsize();
}

/// Bytes of an array when packed densely: 0 without elements, otherwise an element counts as a bit at
/// least. Empty when an extent is negative, or when its elements or bytes are more than an address can
/// reach; an empty array is held to what its other axes have, whose strides would overflow.
constexpr std::optional<std::int64_t> checked_bytes(std::span<const extent> shape,
                                                    dtype type) noexcept {
  std::int64_t bits = type.element_bits();
  if (bits == 0) bits = 1;
  bool empty = false;
  for (const extent n : shape) {
    if (n == 0) empty = true;
    else if (n < 0 || __builtin_mul_overflow(bits, n, &bits)) return std::nullopt;
  }
  if (bits > INT64_MAX - 7) return std::nullopt;
  return empty ? 0 : (bits + 7) >> 3;
}

/// The alignment of memory the hub allocates unless more is asked for: a cache line, and what XLA
/// needs to share (it copies anything below 64 bytes).
inline constexpr std::int64_t default_alignment = 64;

/// Whether an address can be asked to be a multiple of this: a power of two.
constexpr bool is_alignment(std::int64_t multiple) noexcept {
  return multiple > 0 && (multiple & (multiple - 1)) == 0;
}

/// More axes than this are taken for garbage: far more than any framework holds.
inline constexpr std::int32_t most_plausible_axes = 1024;

/// What can be wrong with a `DLTensor` that came from outside.
enum class defect : std::uint8_t {
  none,
  negative_ndim,
  too_many_axes,  ///< more than any array has: the shape behind it is not read
  null_shape,
  negative_extent,
  size_overflow,  ///< more elements or bytes than an address can reach
  span_overflow,  ///< the strides leave the address space
  null_data,      ///< elements but no data
};

/// A sentence for people, without a full stop: "shape is NULL although ndim is not 0".
const char* to_string(defect d) noexcept;

/// Checks everything that can be checked without reading an element.
defect validate(const DLTensor& tensor) noexcept;

}  // namespace dlpack_bridge
