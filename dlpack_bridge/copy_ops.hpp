#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#if defined(__SSE2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

#include <dlpack_bridge/copy_float8.hpp>

// What happens to one element in each step of a conversion. Every operation is branch-free where it
// matters, so that a loop over it can be vectorised, and gives the same bits on every processor:
// no result depends on what an instruction does with a value the C++ standard leaves undefined.
//
// An operation names the types it reads and writes (bit patterns as unsigned integers) and how many
// of them make one unit of work.
namespace dlpack_bridge::detail {

template <class From, class To>
struct operation {
  using from = From;
  using to = To;
};

// ---- integers ------------------------------------------------------------------------------------

/// Integer to integer: extends by the sign of the source, wraps when it narrows.
template <class From, class To>
struct resize : operation<From, To> {
  DLPACK_BRIDGE_EACH_ELEMENT static To apply(From x) { return static_cast<To>(x); }
};

/// Any byte but 0 is true; what leaves as a number is 0 or 1.
struct normalize : operation<std::uint8_t, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(std::uint8_t x) { return x != 0; }
};

template <class From>
struct nonzero : operation<From, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(From x) { return x != 0; }  // NaN is true
};

/// float16 and bfloat16 are zero when nothing but the sign is set.
struct nonzero_half : operation<std::uint16_t, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(std::uint16_t x) {
    return (x & 0x7fff) != 0;
  }
};

template <class From, class To>
struct to_float : operation<From, To> {
  DLPACK_BRIDGE_EACH_ELEMENT static To apply(From x) { return static_cast<To>(x); }
};

/// A truth value as 0 or 1.
template <class To>
struct truth_to_float : operation<std::uint8_t, To> {
  DLPACK_BRIDGE_EACH_ELEMENT static To apply(std::uint8_t x) { return static_cast<To>(x != 0); }
};

// ---- float to integer ----------------------------------------------------------------------------

/// Truncates; NaN and what does not fit give the smallest integer.
template <class To, class From>
DLPACK_BRIDGE_EACH_ELEMENT inline To truncated(From x) {
  constexpr From limit = -static_cast<From>(std::numeric_limits<To>::min());
  const bool fits = std::abs(x) < limit;
  const To whole = static_cast<To>(fits ? x : From{0});
  return fits ? whole : std::numeric_limits<To>::min();
}

/// Float to integer by the rule of `copy` (copy.hpp).
template <class From, class To>
struct to_integer : operation<From, To> {
  static constexpr bool through_int64 =
      sizeof(To) == 8 || (sizeof(To) == 4 && std::is_unsigned_v<To>);

  DLPACK_BRIDGE_EACH_ELEMENT static To apply(From x) {
    if constexpr (std::is_same_v<To, std::uint64_t>) {
      constexpr From half = static_cast<From>(9223372036854775808.0);
      const bool large = x >= half;
      const auto low = static_cast<std::uint64_t>(truncated<std::int64_t>(large ? x - half : x));
      return low ^ (std::uint64_t{large} << 63);
    } else {
      using wide = std::conditional_t<through_int64, std::int64_t, std::int32_t>;
      return static_cast<To>(truncated<wide>(x));
    }
  }

#if defined(__SSE2__) && !defined(__CUDACC__)
  /// The same with the instruction that the rule describes, for loops that have to go element by
  /// element.
  DLPACK_BRIDGE_EACH_ELEMENT static To apply_alone(From x)
    requires through_int64
  {
    constexpr From half = static_cast<From>(9223372036854775808.0);
    const bool large = std::is_same_v<To, std::uint64_t> && x >= half;
    const From low = large ? x - half : x;
    std::int64_t whole;
    if constexpr (std::is_same_v<From, float>) {
      whole = _mm_cvttss_si64(_mm_set_ss(low));
    } else {
      whole = _mm_cvttsd_si64(_mm_set_sd(low));
    }
    return static_cast<To>(static_cast<std::uint64_t>(whole) ^ (std::uint64_t{large} << 63));
  }
#endif
};

/// The same for numbers that came from a float8.
template <class To>
struct float8_to_integer : operation<float, To> {
  DLPACK_BRIDGE_EACH_ELEMENT static To apply(float x) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    To result = to_integer<float, To>::apply(x);
    result = x == infinity ? std::numeric_limits<To>::max() : result;
    result = x == -infinity ? std::numeric_limits<To>::min() : result;
    return x != x ? To{0} : result;
  }
};

// ---- float to float ------------------------------------------------------------------------------

/// Rounds to nearest even; a NaN keeps its sign and the upper bits of its payload, and one that
/// would lose them all becomes the smallest NaN. Whether it signals is kept.
DLPACK_BRIDGE_EACH_ELEMENT inline std::uint16_t half_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffff;
  const std::uint32_t rounding = 0xfff + ((magnitude >> 13) & 1);
  const std::uint32_t normal = (magnitude - 0x38000000 + rounding) >> 13;
  // Adding 0.5 moves the bits of a subnormal half to the end of the float and rounds them there.
  const std::uint32_t small =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000;
  const std::uint32_t payload = (magnitude >> 13) & 0x3ff;
  const std::uint32_t nan = 0x7c00 | payload | std::uint32_t{payload == 0};
  std::uint32_t result = pick(magnitude < 0x38800000, small, normal);
  result = pick<std::uint32_t>(magnitude >= 0x477ff000, 0x7c00, result);
  result = pick(magnitude > 0x7f800000, nan, result);
  return static_cast<std::uint16_t>(result | ((bits >> 16) & 0x8000));
}

struct single_to_half : operation<float, std::uint16_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint16_t apply(float x) { return half_bits(x); }
};

/// A double on its way to float16: an inexact number is made odd, which the second rounding can not
/// mistake for a tie. A NaN keeps what a float32 can hold of it and stays a NaN.
DLPACK_BRIDGE_EACH_ELEMENT inline float odd_single(double x) {
  const auto single = static_cast<float>(x);
  const auto back = static_cast<double>(single);
  const auto bits = std::bit_cast<std::uint32_t>(single);
  const std::uint32_t away = std::abs(back) > std::abs(x);
  const std::uint32_t inexact = back != x;
  const std::uint32_t odd = (bits - away) | inexact;

  const auto upper = static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(x) >> 32);
  const std::uint32_t payload = (upper & 0xfffff) << 3 | 1;
  const std::uint32_t nan = (upper & 0x80000000) | 0x7f800000 | payload;
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return std::bit_cast<float>(pick(is_nan, nan, odd));
}

struct double_to_half : operation<double, std::uint16_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint16_t apply(double x) {
    return half_bits(odd_single(x));
  }
};

struct half_to_single : operation<std::uint16_t, std::uint32_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint32_t apply(std::uint16_t x) {
    const std::uint32_t sign = (x & 0x8000U) << 16;
    const std::uint32_t shifted = (x & 0x7fffU) << 13;
    const std::uint32_t exponent = shifted & 0x0f800000;
    std::uint32_t result = shifted + 0x38000000;
    const float small = std::bit_cast<float>(shifted + 0x38800000) - 0x1p-14F;
    result = pick(exponent == 0, std::bit_cast<std::uint32_t>(small), result);
    result = pick(exponent == 0x0f800000, shifted + 0x70000000, result);
    return result | sign;
  }
};

struct half_to_double : operation<std::uint16_t, std::uint64_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint64_t apply(std::uint16_t x) {
    const std::uint64_t sign = std::uint64_t{x & 0x8000U} << 48;
    const std::uint64_t shifted = std::uint64_t{x & 0x7fffU} << 42;
    const std::uint64_t exponent = shifted & 0x01f0000000000000;
    std::uint64_t result = shifted + 0x3f00000000000000;
    const double small = std::bit_cast<double>(shifted + 0x3f10000000000000) - 0x1p-14;
    result = pick(exponent == 0, std::bit_cast<std::uint64_t>(small), result);
    result = pick(exponent == 0x01f0000000000000, shifted + 0x7e00000000000000, result);
    return result | sign;
  }
};

struct bfloat_to_single : operation<std::uint16_t, std::uint32_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint32_t apply(std::uint16_t x) {
    return std::uint32_t{x} << 16;
  }
};

/// On the way to float16, where ml_dtypes drops the payload of a NaN.
struct bfloat_to_plain_single : operation<std::uint16_t, std::uint32_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint32_t apply(std::uint16_t x) {
    const std::uint32_t bits = std::uint32_t{x} << 16;
    return (x & 0x7fff) > 0x7f80 ? (bits & 0x80000000) | 0x7fc00000 : bits;
  }
};

/// Rounds to nearest even; every NaN becomes the quiet one of its sign.
struct single_to_bfloat : operation<std::uint32_t, std::uint16_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint16_t apply(std::uint32_t x) {
    const std::uint32_t rounded = (x + 0x7fff + ((x >> 16) & 1)) >> 16;
    const bool nan = (x & 0x7fffffff) > 0x7f800000;
    return static_cast<std::uint16_t>(nan ? ((x >> 16) & 0x8000) | 0x7fc0 : rounded);
  }
};

/// Through float32, as ml_dtypes does it. The sign is taken past it: GPUs lose that of a NaN there.
struct double_to_bfloat : operation<double, std::uint16_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint16_t apply(double x) {
    const auto single = std::bit_cast<std::uint32_t>(static_cast<float>(x));
    const auto sign = static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(x) >> 48) & 0x8000;
    return static_cast<std::uint16_t>(single_to_bfloat::apply(single & 0x7fffffff) | sign);
  }
};

template <float8_format Format>
struct to_float8 : operation<float, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(float x) { return float8_bits<Format>(x); }
};

template <float8_format Format>
struct from_float8 : operation<std::uint8_t, std::uint32_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint32_t apply(std::uint8_t x) {
#ifdef __CUDA_ARCH__
    return float8_value(Format, x);
#else
    return float8_values<Format>[x];
#endif
  }
};

// ---- changes on the way --------------------------------------------------------------------------

template <class T>
struct swap_bytes : operation<T, T> {
  DLPACK_BRIDGE_EACH_ELEMENT static T apply(T x) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(x);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(x);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(x);
  }
};

template <class T>
struct negate_integer : operation<T, T> {
  DLPACK_BRIDGE_EACH_ELEMENT static T apply(T x) { return static_cast<T>(T{0} - x); }
};

/// Floats with a sign bit, NaN included.
template <class T>
struct negate_float : operation<T, T> {
  DLPACK_BRIDGE_EACH_ELEMENT static T apply(T x) {
    return static_cast<T>(x ^ (T{1} << (8 * sizeof(T) - 1)));
  }
};

/// The fnuz formats have one zero and one NaN, and neither has a sign.
struct negate_fnuz : operation<std::uint8_t, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(std::uint8_t x) {
    return static_cast<std::uint8_t>((x & 0x7f) == 0 ? x : x ^ 0x80);
  }
};

/// float8_e8m0fnu has no negative numbers.
struct negate_e8m0 : operation<std::uint8_t, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(std::uint8_t) { return 0xff; }
};

// ---- complex numbers: a pair of parts is one unit --------------------------------------------------

template <class T>
struct pair_of {
  T real;
  T imaginary;
};

template <class T>
struct conjugate : operation<pair_of<T>, pair_of<T>> {
  DLPACK_BRIDGE_EACH_ELEMENT static pair_of<T> apply(pair_of<T> x) {
    return {x.real, negate_float<T>::apply(x.imaginary)};
  }
};

template <class T>
struct to_complex : operation<T, pair_of<T>> {
  DLPACK_BRIDGE_EACH_ELEMENT static pair_of<T> apply(T x) { return {x, 0}; }
};

/// Of the truth of both parts.
struct either : operation<pair_of<std::uint8_t>, std::uint8_t> {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint8_t apply(pair_of<std::uint8_t> x) {
    return x.real | x.imaginary;
  }
};

}  // namespace dlpack_bridge::detail
