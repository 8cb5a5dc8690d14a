#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_ops.hpp>

namespace dlpack_bridge::detail {

template <class... Ops>
struct operation_list {
  static constexpr std::size_t size = sizeof...(Ops);

  template <class Op>
  static constexpr std::size_t index_of() {
    static_assert((std::is_same_v<Op, Ops> || ...), "not an operation of the list");
    constexpr bool is_it[] = {std::is_same_v<Op, Ops>...};
    std::size_t index = 0;
    while (!is_it[index]) ++index;
    return index;
  }
};

using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

/// Every step a conversion can be made of. Integers of one size and different signs share what they
/// can.
struct operations
    : operation_list<
          resize<i8, i16>, resize<i8, i32>, resize<i8, i64>, resize<u8, u16>, resize<u8, u32>,
          resize<u8, u64>, resize<i16, i32>, resize<i16, i64>, resize<u16, u32>, resize<u16, u64>,
          resize<i32, i64>, resize<u32, u64>, resize<u64, u32>, resize<u64, u16>, resize<u64, u8>,
          resize<u32, u16>, resize<u32, u8>, resize<u16, u8>, normalize, nonzero<u16>, nonzero<u32>,
          nonzero<u64>, nonzero<float>, nonzero<double>, nonzero_half, truth_to_float<float>,
          truth_to_float<double>, to_float<i8, float>, to_float<i16, float>, to_float<i32, float>,
          to_float<i64, float>, to_float<u8, float>, to_float<u16, float>, to_float<u32, float>,
          to_float<u64, float>, to_float<i8, double>, to_float<i16, double>, to_float<i32, double>,
          to_float<i64, double>, to_float<u8, double>, to_float<u16, double>, to_float<u32, double>,
          to_float<u64, double>, to_integer<float, i8>, to_integer<float, i16>,
          to_integer<float, i32>, to_integer<float, i64>, to_integer<float, u8>,
          to_integer<float, u16>, to_integer<float, u32>, to_integer<float, u64>,
          to_integer<double, i8>, to_integer<double, i16>, to_integer<double, i32>,
          to_integer<double, i64>, to_integer<double, u8>, to_integer<double, u16>,
          to_integer<double, u32>, to_integer<double, u64>, float8_to_integer<i8>,
          float8_to_integer<i16>, float8_to_integer<i32>, float8_to_integer<i64>,
          float8_to_integer<u8>, float8_to_integer<u16>, float8_to_integer<u32>,
          float8_to_integer<u64>, to_float<float, double>, to_float<double, float>, single_to_half,
          double_to_half, half_to_single, half_to_double, bfloat_to_single, bfloat_to_plain_single,
          single_to_bfloat, double_to_bfloat, to_float8<e3m4>, to_float8<e4m3>,
          to_float8<e4m3b11fnuz>, to_float8<e4m3fn>, to_float8<e4m3fnuz>, to_float8<e5m2>,
          to_float8<e5m2fnuz>, to_float8<e8m0fnu>, from_float8<e3m4>, from_float8<e4m3>,
          from_float8<e4m3b11fnuz>, from_float8<e4m3fn>, from_float8<e4m3fnuz>, from_float8<e5m2>,
          from_float8<e5m2fnuz>, from_float8<e8m0fnu>, swap_bytes<u16>, swap_bytes<u32>,
          swap_bytes<u64>, negate_integer<u8>, negate_integer<u16>, negate_integer<u32>,
          negate_integer<u64>, negate_float<u8>, negate_float<u16>, negate_float<u32>,
          negate_float<u64>, negate_fnuz, negate_e8m0, conjugate<u16>, conjugate<u32>,
          conjugate<u64>, to_complex<u16>, to_complex<u32>, to_complex<u64>, either> {};

/// The number of an operation in the tables of kernels.
template <class Op>
inline constexpr auto id_of_operation = static_cast<std::uint8_t>(operations::index_of<Op>());

/// Applies one operation to `count` units that lie side by side. Addresses need no alignment; the
/// two memories do not overlap.
using kernel = void (*)(const void* from, void* to, std::size_t count);

using kernel_table = std::array<kernel, operations::size>;

/// Precondition: `is_supported(set)`.
const kernel_table& kernels_of(instruction_set set) noexcept;

}  // namespace dlpack_bridge::detail
