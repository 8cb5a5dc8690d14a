#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include <dlpack_bridge/copy_kernels.hpp>
#include <dlpack_bridge/cuda/gather.hpp>

// What the gather kernels do to an element: the steps of the core's roads (copy_road.hpp), by the
// core's own operations (copy_ops.hpp), so that a result does not depend on where it was computed.
// Compiles for GPUs and, for the tests, for the host.
#ifdef __CUDACC__
#define DLPACK_BRIDGE_UNROLL _Pragma("unroll")
#define DLPACK_BRIDGE_UNROLL_4 _Pragma("unroll 4")
#else
#define DLPACK_BRIDGE_UNROLL
#define DLPACK_BRIDGE_UNROLL_4
#endif

namespace dlpack_bridge::cuda {

/// The bits of one element: a number, or the real and the imaginary part of one.
struct element {
  std::uint64_t low, high;
};

/// An operation of the core as a GPU computes it.
template <class Op>
struct on_gpu : Op {};

// A GPU's own conversions between floats give one NaN for all.
template <>
struct on_gpu<detail::to_float<float, double>> : detail::operation<float, double> {
  DLPACK_BRIDGE_EACH_ELEMENT static double apply(float x) {
    if (x == x) return static_cast<double>(x);
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint64_t sign = std::uint64_t{bits >> 31} << 63;
    const std::uint64_t payload = std::uint64_t{bits & 0x7fffff} << 29;
    return std::bit_cast<double>(sign | 0x7ff8000000000000 | payload);
  }
};

template <>
struct on_gpu<detail::to_float<double, float>> : detail::operation<double, float> {
  DLPACK_BRIDGE_EACH_ELEMENT static float apply(double x) {
    if (x == x) return static_cast<float>(x);
    const auto bits = std::bit_cast<std::uint64_t>(x);
    const auto sign = static_cast<std::uint32_t>(bits >> 63) << 31;
    const auto payload = static_cast<std::uint32_t>(bits >> 29) & 0x7fffff;
    return std::bit_cast<float>(sign | 0x7fc00000 | payload);
  }
};

#ifdef __CUDA_ARCH__
// The instructions round as ours do.
template <>
struct on_gpu<detail::single_to_half> : detail::single_to_half {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint16_t apply(float x) {
    if (x != x) return detail::single_to_half::apply(x);
    std::uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
  }
};

template <>
struct on_gpu<detail::half_to_single> : detail::half_to_single {
  DLPACK_BRIDGE_EACH_ELEMENT static std::uint32_t apply(std::uint16_t x) {
    if ((x & 0x7fff) > 0x7c00) return detail::half_to_single::apply(x);
    float single;
    asm("cvt.f32.f16 %0, %1;" : "=f"(single) : "h"(x));
    return std::bit_cast<std::uint32_t>(single);
  }
};

template <class T>
struct on_gpu<detail::swap_bytes<T>> : detail::swap_bytes<T> {
  DLPACK_BRIDGE_EACH_ELEMENT static T apply(T x) {
    if constexpr (sizeof(T) == 2) {
      return static_cast<T>(x << 8 | x >> 8);
    } else if constexpr (sizeof(T) == 4) {
      return __byte_perm(x, 0, 0x0123);
    } else {
      const auto upper = static_cast<std::uint32_t>(x >> 32);
      const std::uint64_t low = __byte_perm(static_cast<std::uint32_t>(x), 0, 0x0123);
      return low << 32 | __byte_perm(upper, 0, 0x0123);
    }
  }
};
#endif

template <class T>
DLPACK_BRIDGE_EACH_ELEMENT inline T value_of(std::uint64_t bits) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<double>(bits);
  } else {
    return static_cast<T>(bits);
  }
}

template <class T>
DLPACK_BRIDGE_EACH_ELEMENT inline std::uint64_t bits_of_value(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<std::uint32_t>(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<std::uint64_t>(value);
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

template <class T>
inline constexpr bool is_pair = false;
template <class T>
inline constexpr bool is_pair<detail::pair_of<T>> = true;

/// Applies an operation; one that does not take pairs looks at `low` only.
template <class Op>
DLPACK_BRIDGE_EACH_ELEMENT inline void apply_operation(element& x) {
  using from = typename Op::from;
  using to = typename Op::to;
  to result;
  if constexpr (is_pair<from>) {
    using part = decltype(from::real);
    result = Op::apply({value_of<part>(x.low), value_of<part>(x.high)});
  } else {
    result = on_gpu<Op>::apply(value_of<from>(x.low));
  }
  if constexpr (is_pair<to>) {
    x.low = bits_of_value(result.real);
    x.high = bits_of_value(result.imaginary);
  } else {
    x.low = bits_of_value(result);
  }
}

template <std::size_t Index, class... Ops>
std::tuple_element<Index, std::tuple<Ops...>> operation_of(detail::operation_list<Ops...>);

/// Applies the operation of a number in [First, Last), which it finds by halving.
template <std::size_t First, std::size_t Last, int Count>
DLPACK_BRIDGE_EACH_ELEMENT inline void apply_one_of(unsigned operation, element (&x)[Count]) {
  if constexpr (Last - First == 1) {
    using op = typename decltype(operation_of<First>(detail::operations()))::type;
    DLPACK_BRIDGE_UNROLL
    for (int i = 0; i < Count; ++i) apply_operation<op>(x[i]);
  } else {
    constexpr std::size_t middle = First + (Last - First) / 2;
    if (operation < middle) apply_one_of<First, middle>(operation, x);
    else apply_one_of<middle, Last>(operation, x);
  }
}

/// Takes elements through the steps of a conversion. All threads of a block go the same way.
template <int Count>
DLPACK_BRIDGE_EACH_ELEMENT inline void convert(const gather_way& way, element (&x)[Count]) {
  for (int step = 0; step < way.step_count; ++step) {
    const int units = way.steps[step].units;
    for (int unit = 0; unit < units; ++unit) {
      apply_one_of<0, detail::operations::size>(way.steps[step].operation, x);
      if (units == 1) continue;
      DLPACK_BRIDGE_UNROLL
      for (int i = 0; i < Count; ++i) x[i] = {x[i].high, x[i].low};
    }
  }
}

/// The bits as they lie in memory, in the two words of an element, become its parts.
DLPACK_BRIDGE_EACH_ELEMENT inline element split_parts(const gather_access& access, element words) {
  if (access.parts == 1 || access.bytes == 16) return words;
  const int bits = 4 * access.bytes;
  return {words.low & ((std::uint64_t{1} << bits) - 1), words.low >> bits};
}

DLPACK_BRIDGE_EACH_ELEMENT inline element join_parts(const gather_access& access, element parts) {
  if (access.parts == 1 || access.bytes == 16) return parts;
  return {parts.low | parts.high << 4 * access.bytes, 0};
}

}  // namespace dlpack_bridge::cuda
