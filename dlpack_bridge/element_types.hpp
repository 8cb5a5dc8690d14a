#pragma once

#include <complex>
#include <cstdint>
#include <type_traits>

#include <dlpack_bridge/dtype.hpp>

// CUDA's element types, for those who include its headers.
struct __half;
struct __nv_bfloat16;

namespace dlpack_bridge {

/// A float16 element: storage with conversions, for compilers without `std::float16_t`. Rounds to
/// nearest even.
struct float16_t {
  std::uint16_t bits = 0;

  float16_t() = default;
  explicit float16_t(float value) noexcept;
  operator float() const noexcept;
};

/// A bfloat16 element, likewise.
struct bfloat16_t {
  std::uint16_t bits = 0;

  bfloat16_t() = default;
  explicit bfloat16_t(float value) noexcept;
  operator float() const noexcept;
};

/// The element type of a C++ type. Specialise it for a type of your own that has the memory layout
/// of an element: `template <> inline constexpr dtype dtype_for<my_half> = float16;`.
template <class T>
inline constexpr dtype dtype_for = [] {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, long double>,
                "no DLPack element type for this C++ type");
  if constexpr (std::is_same_v<T, bool>) return boolean;
  else if constexpr (std::is_floating_point_v<T>) return dtype(kDLFloat, 8 * sizeof(T));
  else return dtype(std::is_signed_v<T> ? kDLInt : kDLUInt, 8 * sizeof(T));
}();

template <>
inline constexpr dtype dtype_for<std::complex<float>> = complex64;
template <>
inline constexpr dtype dtype_for<std::complex<double>> = complex128;
template <>
inline constexpr dtype dtype_for<float16_t> = float16;
template <>
inline constexpr dtype dtype_for<bfloat16_t> = bfloat16;
template <>
inline constexpr dtype dtype_for<__half> = float16;
template <>
inline constexpr dtype dtype_for<__nv_bfloat16> = bfloat16;
#ifdef __STDCPP_BFLOAT16_T__  // std::bfloat16_t counts as floating point, and so does std::float16_t
template <>
inline constexpr dtype dtype_for<decltype(0.0bf16)> = bfloat16;
#endif

}  // namespace dlpack_bridge
