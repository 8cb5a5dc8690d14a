#pragma once

#include <cstdint>

#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/layout.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge {

/// One side of a copy: host memory with strides in bytes, so that every layout that exists can be
/// said (NumPy's field views step by amounts that are no multiple of the element).
struct strided_memory {
  void* data = nullptr;
  const extent* byte_strides = nullptr;
  dtype type;
};

/// What is done to each element on its way besides the conversion of its type. One byte: what is
/// written in parts and then read as a whole waits until it has left for the cache.
struct element_change {
  bool swap_bytes : 1 = false;  ///< the source is in the other byte order; complex swaps each part
  bool conjugate : 1 = false;   ///< imaginary parts change sign, before the conversion
  bool negate : 1 = false;      ///< every element changes sign, before the conversion
};

/// True when `copy` can turn `from` into `to`: every pair of convertible_dtypes, and every type
/// (packed ones when both sides are C-contiguous) into itself.
bool can_copy(dtype from, dtype to) noexcept;

/// Copies host memory element by element from any layout to any layout of the same shape and
/// converts the element type as NumPy's `astype(casting="unsafe")` does (bfloat16 and float8 as
/// ml_dtypes does): round to nearest even, no double rounding, complex to real drops the imaginary
/// part, anything to bool is `!= 0` (NaN is true).
///
/// Float to integer where C++ leaves the result open is what NumPy gives on x86-64, here on every
/// processor and for every length and layout (NumPy's own uint32 depends on them: what a single
/// element gives there is the rule here). The value is truncated to int32 when the target has 8 or 16 bits or
/// is int32, else to int64; NaN and what does not fit there become the smallest int32 or int64; the
/// result wraps to the target. uint64 takes values from 2^63 to 2^64 as they are, larger ones give 0.
/// From float8, as in ml_dtypes, NaN gives 0 and infinities give the limits of the target.
///
/// Results do not depend on the rounding mode or on flushed subnormals of the calling thread. Does
/// not touch Python, needs no GIL, and allocates nothing. From a megabyte on, read and written taken
/// together, other threads help (see copy_threads.hpp). Precondition: `can_copy`, the memory does not
/// overlap.
void copy(const extent* shape, std::int32_t ndim, const strided_memory& from,
          const strided_memory& to, element_change change = {});

/// The same for two views of equal shape on the host. Throws `std::invalid_argument` when shapes
/// differ, the pair cannot be converted, memory is not on the host, `to` is read-only, or elements of
/// `to` share memory with each other.
void copy(const tensor_view& from, const tensor_view& to);

}  // namespace dlpack_bridge
