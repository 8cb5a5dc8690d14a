#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace dlpack_bridge {

/// One extent or stride, as DLPack stores it.
using extent = std::int64_t;

// What strides say about an array is asked here; copies walk along them in `copy_plan`. Strides are in
// elements unless a parameter says bytes; a function that takes them does not care which unit they are
// in as long as `step` (the distance of neighbours in a dense array) is given in the same one.

/// Axes that can be longer than 1 without more elements than 63 bits count.
inline constexpr int most_moving_axes = 63;

/// What one pass over shape and strides tells.
struct layout_facts {
  std::int64_t size = 1;            ///< number of elements
  std::int32_t negative_axis = -1;  ///< first axis with extent > 1 and a negative stride, or -1
  bool c_contiguous = true;         ///< row-major and dense, axes of extent 1 ignored
  bool nested = true;     ///< strides fall from axis to axis without overlap: certainly unique
  bool overflow = false;  ///< an extent is negative or the size leaves 63 bits
  bool empty = false;     ///< no elements
};

/// What one pass over the shape tells of dense rows.
inline layout_facts facts_of_dense(const extent* shape, std::int32_t ndim) noexcept {
  bool too_large = false;
  std::int64_t size = 1, shortest = 1;
  for (std::int32_t i = 0; i < ndim; ++i) {
    if (shape[i] < shortest) shortest = shape[i];
    else too_large |= __builtin_mul_overflow(size, shape[i], &size);
  }
  if (shortest < 1) return {.size = 0, .overflow = shortest < 0, .empty = true};
  return {.size = size, .overflow = too_large};
}

/// Reads a layout once. `strides` may be null: row-major. Empty arrays count as contiguous.
inline layout_facts facts_of(const extent* shape, const extent* strides, std::int32_t ndim,
                             std::int64_t step = 1) noexcept {
  if (strides == nullptr && step == 1) return facts_of_dense(shape, ndim);
  bool too_large = false, dense = true, nested = true;
  std::int64_t size = 1, shortest = 1;
  std::int32_t negative_axis = -1;
  std::int64_t reached = step;  // first address behind everything the inner axes touch
  for (std::int32_t i = ndim; i-- > 0;) {
    const extent n = shape[i];
    if (n <= 1) {
      if (n < shortest) shortest = n;
      continue;
    }
    too_large |= __builtin_mul_overflow(size, n, &size);
    // As long as the inner axes are dense, what they reach is the stride of a dense array.
    const extent s = strides == nullptr ? reached : strides[i];
    dense &= s == reached;
    if (dense) {
      too_large |= __builtin_mul_overflow(reached, n, &reached);
      continue;
    }
    if (s < 0) negative_axis = i;
    const extent distance = s >= 0 ? s : s == INT64_MIN ? INT64_MAX : -s;
    std::int64_t last;
    nested &= distance >= reached && !__builtin_mul_overflow(distance, n - 1, &last) &&
              !__builtin_add_overflow(reached, last, &reached);
  }
  if (shortest < 1) return {.size = 0, .overflow = shortest < 0, .empty = true};
  return {size, negative_axis, dense, nested, too_large, false};
}

/// Number of elements; empty when an extent is negative or the product overflows.
std::optional<std::int64_t> element_count(std::span<const extent> shape) noexcept;

/// Row-major and dense; axes of extent 1 and empty arrays are ignored, null strides are row-major.
bool is_c_contiguous(std::span<const extent> shape, const extent* strides,
                     std::int64_t step = 1) noexcept;
/// The same for column-major.
bool is_f_contiguous(std::span<const extent> shape, const extent* strides,
                     std::int64_t step = 1) noexcept;

/// Writes the strides of a dense row-major array.
inline void row_major_strides(std::span<const extent> shape, extent* out,
                              std::int64_t step = 1) noexcept {
  for (std::size_t i = shape.size(); i-- > 0;) {
    out[i] = step;
    std::int64_t next;
    // Only an empty array can overflow here; its strides mean nothing.
    if (shape[i] > 1 && !__builtin_mul_overflow(step, shape[i], &next)) step = next;
  }
}

/// Writes strides that address the same elements and look contiguous wherever the array is: the
/// strides of axes of extent 1 and of empty arrays mean nothing and are replaced. `strides` may be
/// null (row-major) and may be `out`.
void canonical_strides(std::span<const extent> shape, const extent* strides, extent* out,
                       std::int64_t step = 1) noexcept;

/// The bytes an array touches, relative to its first element: [low, high).
struct byte_span {
  std::int64_t low = 0;
  std::int64_t high = 0;
};

/// Empty when the span does not fit into 63 bits. An array without elements spans nothing.
std::optional<byte_span> span_of(std::span<const extent> shape, const extent* byte_strides,
                                 std::int64_t itemsize) noexcept;

enum class answer : std::uint8_t { no, yes, unknown };

/// Whether two different indices reach a common byte. The search is bounded: `unknown` when it
/// gives up (callers treat that as yes).
answer overlaps_itself(std::span<const extent> shape, const extent* byte_strides,
                       std::int64_t itemsize) noexcept;

/// An array as plain numbers, for address questions only.
struct address_layout {
  std::uintptr_t address = 0;
  std::span<const extent> shape;
  const extent* byte_strides = nullptr;
  std::int64_t itemsize = 1;
};

/// Whether two arrays have a byte in common: exact for every layout reached by slicing,
/// transposing, broadcasting and windows; `unknown` when the bounded search gives up.
answer share_memory(const address_layout& a, const address_layout& b) noexcept;

}  // namespace dlpack_bridge
