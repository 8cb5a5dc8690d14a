#pragma once

#include <cstddef>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// Moves elements of 1, 2, 4 or 8 bytes in a pattern that vector instructions know. `from_row` and
/// `to_row` are the bytes between the rows that a pattern has; `count` is the length of a row.
using shuffle = void (*)(const std::byte* from, extent from_row, std::byte* to, extent to_row,
                         std::size_t count);

/// Patterns, by the name of what they do to a row.
enum class pattern : unsigned char {
  reverse,  ///< to[i] = from[-i]
  every2,   ///< to[i] = from[2 * i]
  every3,
  every4,
  fill,    ///< to[i] = from[0]
  split2,  ///< to[row][i] = from[2 * i + row]: pixels become planes
  split3,
  split4,
  join2,  ///< to[2 * i + row] = from[row][i]: planes become pixels
  join3,
  join4,
};

/// Null for other sizes of elements.
shuffle shuffle_for(pattern p, extent itemsize) noexcept;

}  // namespace dlpack_bridge::detail
