#pragma once

#include <array>
#include <cstdint>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge::detail {

/// One pass over elements that lie side by side.
struct road_step {
  std::uint8_t operation = 0;  // number in the tables of kernels
  std::uint8_t units = 1;      // of the operation in one element
};

/// How an element gets from one type to another: at most seven steps, of which all but the last
/// conversion are exact, or round where NumPy and ml_dtypes do.
struct road {
  static constexpr int most_steps = 7;

  std::array<road_step, most_steps> steps{};
  std::uint8_t size = 0;
  /// The type the first step reads. Where only the real part of a complex number counts, this is
  /// the type of that part, at the same addresses.
  dtype from;

  constexpr void add(std::uint8_t operation, int units) {
    steps[size++] = {operation, static_cast<std::uint8_t>(units)};
  }
};

/// Precondition: both types are convertible, or equal with one lane.
/// Throws `std::invalid_argument` when elements of this type cannot be changed as asked.
road road_between(dtype from, dtype to, element_change change);

}  // namespace dlpack_bridge::detail
