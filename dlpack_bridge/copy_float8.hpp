#pragma once

#include <array>
#include <bit>
#include <cstdint>

// The operations on elements are compiled for GPUs as well.
#ifdef __CUDACC__
#define DLPACK_BRIDGE_EACH_ELEMENT __host__ __device__ __attribute__((always_inline))
#else
#define DLPACK_BRIDGE_EACH_ELEMENT [[gnu::always_inline]]
#endif

// The eight float8 formats, each described by a few numbers; rounding and special values as
// ml_dtypes has them.
namespace dlpack_bridge::detail {

enum class specials : std::uint8_t {
  ieee,   ///< infinities and NaNs in the highest exponent
  fn,     ///< no infinity; NaN is all ones, with either sign
  fnuz,   ///< no infinity, no negative zero, whose pattern is the only NaN
  scale,  ///< exponents only: no sign, no zero, NaN is all ones
};

struct float8_format {
  int mantissa;  // bits
  int bias;
  specials kind;
};

inline constexpr float8_format e3m4{4, 3, specials::ieee};
inline constexpr float8_format e4m3{3, 7, specials::ieee};
inline constexpr float8_format e4m3b11fnuz{3, 11, specials::fnuz};
inline constexpr float8_format e4m3fn{3, 7, specials::fn};
inline constexpr float8_format e4m3fnuz{3, 8, specials::fnuz};
inline constexpr float8_format e5m2{2, 15, specials::ieee};
inline constexpr float8_format e5m2fnuz{2, 16, specials::fnuz};
inline constexpr float8_format e8m0fnu{0, 127, specials::scale};

constexpr std::uint32_t infinity_of(float8_format f) { return (0x7fU >> f.mantissa) << f.mantissa; }
constexpr std::uint32_t largest_of(float8_format f) {
  if (f.kind == specials::ieee) return infinity_of(f) - 1;
  return f.kind == specials::fn ? 0x7e : 0x7f;
}
constexpr std::uint32_t nan_of(float8_format f) {
  if (f.kind == specials::ieee) return infinity_of(f) | (1U << (f.mantissa - 1));
  return f.kind == specials::fnuz ? 0x80 : 0x7f;
}
/// What a number too large becomes.
constexpr std::uint32_t overflow_of(float8_format f) {
  return f.kind == specials::ieee ? infinity_of(f) : nan_of(f);
}

/// `a` when the condition holds, else `b`, without a branch even where computing one of them could
/// raise a floating-point flag.
template <class T>
DLPACK_BRIDGE_EACH_ELEMENT inline T pick(bool condition, T a, T b) {
  return b ^ ((a ^ b) & (T{0} - static_cast<T>(condition)));
}

DLPACK_BRIDGE_EACH_ELEMENT inline std::uint8_t scale_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Halves go up, and so does everything between 2^-127, the smallest scale, and 2^-126.
  const std::uint32_t rounded = bits < 0x00800000 ? bits > 0x00400000 : (bits + 0x00400000) >> 23;
  const bool positive = bits - 1 < 0x7f800000;  // neither zero, negative nor NaN
  return static_cast<std::uint8_t>(positive ? rounded : 0xff);
}

/// Rounds to nearest even.
template <float8_format F>
DLPACK_BRIDGE_EACH_ELEMENT inline std::uint8_t float8_bits(float value) {
  if constexpr (F.kind == specials::scale) {
    return scale_bits(value);
  } else {
    constexpr int dropped = 23 - F.mantissa;
    constexpr std::uint32_t rebias = (127U - F.bias) << 23;
    constexpr std::uint32_t smallest_normal = rebias + (1U << 23);
    // Adding a power of two whose last bit is the smallest subnormal rounds a number to those.
    constexpr std::uint32_t ruler = (127U + 24 - F.bias - F.mantissa) << 23;

    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffff;
    const std::uint32_t rounding = (1U << (dropped - 1)) - 1 + ((magnitude >> dropped) & 1);
    const std::uint32_t normal = (magnitude - rebias + rounding) >> dropped;
    const float ruled = std::bit_cast<float>(magnitude) + std::bit_cast<float>(ruler);
    const std::uint32_t small = std::bit_cast<std::uint32_t>(ruled) - ruler;
    std::uint32_t result = pick(magnitude < smallest_normal, small, normal);
    result = pick(result > largest_of(F), overflow_of(F), result);
    result = pick(magnitude > 0x7f800000, nan_of(F), result);
    std::uint32_t sign = (bits >> 24) & 0x80;
    if constexpr (F.kind == specials::fnuz) sign = pick(result == 0, 0U, sign);
    return static_cast<std::uint8_t>(result | sign);
  }
}

/// The bits of the float32 that has the value of a float8.
constexpr std::uint32_t float8_value(float8_format f, std::uint32_t bits) {
  constexpr std::uint32_t quiet_nan = 0x7fc00000;
  if (f.kind == specials::scale)
    return bits == 0xff ? quiet_nan : bits == 0 ? 0x00400000 : bits << 23;
  const std::uint32_t sign = (bits & 0x80) << 24;
  const std::uint32_t magnitude = bits & 0x7f;
  if (f.kind == specials::fnuz && bits == 0x80) return quiet_nan | sign;
  if (f.kind == specials::ieee && magnitude == infinity_of(f)) return 0x7f800000 | sign;
  if (magnitude > largest_of(f)) return quiet_nan | sign;

  // Exponent and fraction where a float32 has them, then the bias; both steps are exact.
  const auto scaled = std::bit_cast<float>(magnitude << (23 - f.mantissa));
  const auto rebias = std::bit_cast<float>(static_cast<std::uint32_t>(254 - f.bias) << 23);
  return std::bit_cast<std::uint32_t>(scaled * rebias) | sign;
}

template <float8_format F>
inline constexpr auto float8_values = [] {
  std::array<std::uint32_t, 256> values{};
  for (std::uint32_t i = 0; i < 256; ++i) values[i] = float8_value(F, i);
  return values;
}();

}  // namespace dlpack_bridge::detail
