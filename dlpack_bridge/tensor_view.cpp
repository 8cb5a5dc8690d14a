#include <dlpack_bridge/tensor_view.hpp>

#include <algorithm>

namespace dlpack_bridge {
namespace {

// Programs have the lower half of the addresses of an x86-64; elsewhere the upper bits may be a tag.
#ifdef __x86_64__
constexpr std::uintptr_t last_address = INT64_MAX;
#else
constexpr std::uintptr_t last_address = UINTPTR_MAX;
#endif

// Bytes from the first element to the lowest and behind the highest one. False when they leave 63 bits.
bool find_reach(const DLTensor& tensor, std::int64_t& below, std::int64_t& above) noexcept {
  // In units of elements first: the bytes follow by one multiplication that is checked too.
  std::int64_t low = 0, high = 0;
  for (std::int32_t i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] == 1) continue;  // its stride means nothing, whatever it is
    std::int64_t reach;
    if (__builtin_mul_overflow(tensor.strides[i], tensor.shape[i] - 1, &reach)) return false;
    std::int64_t& end = reach < 0 ? low : high;
    if (__builtin_add_overflow(end, reach, &end)) return false;
  }
  const std::int64_t itemsize = dtype(tensor.dtype).itemsize();
  return !__builtin_mul_overflow(low, -itemsize, &below) &&
         !__builtin_mul_overflow(high, itemsize, &above) &&
         !__builtin_add_overflow(above, itemsize, &above);
}

// Whether a program can have the addresses of all elements. Behind a handle there are none.
bool addresses_fit(const DLTensor& tensor, std::int64_t dense_bytes) noexcept {
  std::int64_t below = 0, above = dense_bytes;
  if (tensor.strides != nullptr && !find_reach(tensor, below, above)) return false;
  if (memory_kind_of(tensor.device.device_type) == memory_kind::handle) return true;
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  if (address > last_address || tensor.byte_offset > last_address - address) return false;
  const std::uintptr_t first = address + tensor.byte_offset;
  return static_cast<std::uintptr_t>(below) <= first &&
         static_cast<std::uintptr_t>(above) <= last_address - first;
}

}  // namespace

std::int64_t tensor_view::size() const noexcept {
  std::int64_t count = 1;
  for (const extent n : shape()) count *= n;
  return count;
}

std::int64_t tensor_view::nbytes() const noexcept { return dense_bytes(size(), dtype_); }

bool tensor_view::is_c_contiguous() const noexcept {
  return dlpack_bridge::is_c_contiguous(shape(), strides_);
}

const char* to_string(defect d) noexcept {
  switch (d) {
    case defect::none: return "nothing";
    case defect::negative_ndim: return "ndim is negative";
    case defect::too_many_axes: return "ndim is larger than any array has";
    case defect::null_shape: return "shape is NULL although ndim is not 0";
    case defect::negative_extent: return "an extent of the shape is negative";
    case defect::size_overflow: return "the number of elements or bytes overflows 63 bits";
    case defect::span_overflow: return "the strides reach beyond the address space";
    case defect::null_data: return "data is NULL although the array has elements";
  }
  return "unknown";
}

defect validate(const DLTensor& tensor) noexcept {
  if (tensor.ndim < 0) return defect::negative_ndim;
  if (tensor.ndim > most_plausible_axes) return defect::too_many_axes;
  if (tensor.ndim > 0 && tensor.shape == nullptr) return defect::null_shape;
  const std::span<const extent> shape(tensor.shape, static_cast<std::size_t>(tensor.ndim));
  // Of an empty array too: strides that overflow crash torch and make NumPy refuse.
  const std::optional<std::int64_t> bytes = checked_bytes(shape, tensor.dtype);
  if (!bytes) {
    const bool negative = std::ranges::any_of(shape, [](extent n) { return n < 0; });
    return negative ? defect::negative_extent : defect::size_overflow;
  }
  if (*bytes == 0) return defect::none;
  if (tensor.data == nullptr) return defect::null_data;
  return addresses_fit(tensor, *bytes) ? defect::none : defect::span_overflow;
}

}  // namespace dlpack_bridge
