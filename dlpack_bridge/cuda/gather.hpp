#pragma once

#include <cstddef>
#include <cstdint>

// What the host and the gather kernels agree on. A kernel's parameter is one `gather_arguments` by
// value; the fake driver of the tests reads it as the kernels do.
namespace dlpack_bridge::cuda {

/// Names of the kernels in the module. Both do what the first part of their parameter says:
inline constexpr const char* gather_kernel = "dlpack_bridge_gather";  // any pair of types
inline constexpr const char* gather_move_kernel =
    "dlpack_bridge_gather_move";  // one type, no change

/// Axes that a launch can have after coalescing; more are looped over on the host.
inline constexpr int gather_axes = 8;

/// Elements of one launch; more are cut on the host, so that the kernels count in 32 bits.
inline constexpr std::int64_t gather_most_elements = 0x7fffffff;

/// Threads of a block, and elements that each of them has in hand at a time.
inline constexpr int gather_threads = 256;
inline constexpr int gather_batch = 4;

/// Elements of a tile that passes through shared memory: 2 to this power.
constexpr int gather_log2_tile(std::size_t bytes) noexcept { return bytes <= 2 ? 12 : 10; }

/// Batches that a thread of the moving kernel has in hand at once: small elements need more of them
/// on their way.
constexpr int gather_batches(std::size_t bytes) noexcept {
  return bytes <= 2 ? 4 : bytes == 4 ? 2 : 1;
}

/// One side: DLPack dtype, strides in bytes.
struct gather_side {
  void* data;
  std::int64_t byte_strides[gather_axes];
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

/// Divides numbers below 2^31 by a constant without dividing.
struct gather_divisor {
  std::uint32_t multiplier;
  std::uint32_t shift;
};

/// How a kernel reaches the elements of a side.
struct gather_access {
  std::uint8_t bytes;  ///< of what is read or written per element: 1, 2, 4, 8 or 16
  std::uint8_t unit;   ///< the largest power of two that divides it and every address, at most 16
  std::uint8_t
      together;        ///< a batch lies side by side, aligned for one access as wide as it can be
  std::uint8_t parts;  ///< 2 for complex numbers, else 1
};

/// How the kernels do it. Follows from the rest; whoever only wants the result need not look.
struct gather_way {
  gather_access from;
  gather_access to;
  gather_divisor extents[gather_axes];

  /// The steps of the conversion: operations of copy_kernels.hpp, and how often in an element.
  struct {
    std::uint8_t operation, units;
  } steps[7];
  std::uint8_t step_count;

  /// Where the source lies transposed, the axis along which it goes with the smallest steps: tiles
  /// of it and of axis 0 pass through shared memory. 0: no tiles.
  std::uint8_t tile_axis;
  std::uint8_t log2_tile[2];     ///< extents of a tile along axis 0 and `tile_axis`
  std::uint32_t tiles_along[2];  ///< tiles of the whole array along them
  std::uint32_t tiles;           ///< in all
  std::uint32_t tile_pitch;      ///< elements from one row of a tile to the next, in shared memory
};

struct gather_arguments {
  gather_side from;
  gather_side to;
  std::int64_t shape[gather_axes];  ///< the innermost axis of the destination first
  std::int64_t count;               ///< product of the shape
  std::int32_t ndim;                ///< at least 1
  std::uint8_t swap_bytes, conjugate, negate;
  gather_way way;
};

}  // namespace dlpack_bridge::cuda
