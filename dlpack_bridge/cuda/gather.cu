#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/cuda/gather_element.hpp>

// Element-wise copies between any two layouts, at the speed of the memory: a thread has a batch of
// neighbours in hand (as the destination lies), finds them without dividing, and stores them as
// one. Where the source lies transposed, tiles pass through shared memory, so that both sides are
// touched along their own lines.
namespace dlpack_bridge::cuda {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 threads = gather_threads;
constexpr u32 batch = gather_batch;

/// Bytes from the first element of each side.
struct place {
  std::int64_t from, to;
};

__device__ place operator+(place a, place b) { return {a.from + b.from, a.to + b.to}; }

/// `n` steps along an axis.
__device__ place along(const gather_arguments& a, int axis, u32 n) {
  return {n * a.from.byte_strides[axis], n * a.to.byte_strides[axis]};
}

__device__ u32 divided(u32 n, gather_divisor d) {
  return (__umulhi(n, d.multiplier) + n) >> d.shift;
}

/// Where element `n` lies when the axes from `first` on are counted through; `skipped` is none of
/// them.
__device__ place place_of(const gather_arguments& a, int first, int skipped, u32 n) {
  place found{0, 0};
  DLPACK_BRIDGE_UNROLL
  for (int axis = 0; axis < gather_axes; ++axis) {
    if (axis < first || axis == skipped) continue;
    if (axis >= a.ndim) break;
    const u32 rest = divided(n, a.way.extents[axis]);
    found = found + along(a, axis, n - rest * static_cast<u32>(a.shape[axis]));
    n = rest;
  }
  return found;
}

/// Where a batch of neighbours lies.
struct places {
  place of[batch];
};

__device__ places places_of(const gather_arguments& a, u32 first) {
  places found;
  u32 row = divided(first, a.way.extents[0]);
  u32 column = first - row * static_cast<u32>(a.shape[0]);
  place at = place_of(a, 1, 0, row) + along(a, 0, column);
  DLPACK_BRIDGE_UNROLL
  for (u32 i = 0; i < batch; ++i) {
    found.of[i] = at;
    at = at + along(a, 0, 1);
    if (++column < a.shape[0]) continue;
    column = 0;
    at = place_of(a, 1, 0, ++row);
  }
  return found;
}

/// Whatever is read is not written in the meantime.
template <class Unit>
__device__ Unit read(const std::byte* p) {
  return __ldg(reinterpret_cast<const Unit*>(p));
}
template <class Unit>
__device__ void write(std::byte* p, Unit value) {
  *reinterpret_cast<Unit*>(p) = value;
}

// ---- tiles --------------------------------------------------------------------------------------

/// The part of the array that a block takes through shared memory.
struct tile {
  place origin;
  u32 columns, rows;  // along axis 0 and the tile axis, where the array ends
};

__device__ tile tile_at(const gather_arguments& a, u32 index) {
  const gather_way& way = a.way;
  const int row_axis = way.tile_axis;
  const u32 rest = index / way.tiles_along[0];
  const u32 outer = rest / way.tiles_along[1];
  const u32 column = (index - rest * way.tiles_along[0]) << way.log2_tile[0];
  const u32 row = (rest - outer * way.tiles_along[1]) << way.log2_tile[1];
  const place origin =
      place_of(a, 1, row_axis, outer) + along(a, 0, column) + along(a, row_axis, row);
  return {origin, static_cast<u32>(a.shape[0]) - column, static_cast<u32>(a.shape[row_axis]) - row};
}

/// Element `k` of a tile as the source lies, and as the destination does.
struct tile_index {
  u32 column, row;
};

__device__ tile_index as_source(const gather_way& way, u32 k) {
  return {k >> way.log2_tile[1], k & ((1U << way.log2_tile[1]) - 1)};
}
__device__ tile_index as_destination(const gather_way& way, u32 k) {
  return {k & ((1U << way.log2_tile[0]) - 1), k >> way.log2_tile[0]};
}
__device__ bool is_inside(const tile& t, tile_index i) {
  return i.column < t.columns && i.row < t.rows;
}

__device__ place place_in(const gather_arguments& a, const tile& t, tile_index i) {
  return t.origin + along(a, 0, i.column) + along(a, a.way.tile_axis, i.row);
}

__device__ u32 shared_index(const gather_way& way, tile_index i) {
  return i.column * way.tile_pitch + i.row;
}

// ---- moves --------------------------------------------------------------------------------------

template <class Unit>
struct alignas(sizeof(Unit) * batch < 16 ? sizeof(Unit) * batch : 16) whole_batch {
  Unit unit[batch];
};

template <class Unit>
__device__ void move_batches(const gather_arguments& a) {
  constexpr u32 many = gather_batches(sizeof(Unit));
  constexpr u32 block = threads * batch * many;
  const auto* from = static_cast<const std::byte*>(a.from.data);
  auto* to = static_cast<std::byte*>(a.to.data);
  const auto count = static_cast<u32>(a.count);
  for (u32 start = blockIdx.x * block; start < count; start += gridDim.x * block) {
    const u32 mine = start + threadIdx.x * batch;
    if (a.way.to.together && start + block <= count) {
      whole_batch<Unit> values[many];
      std::int64_t target[many];
      DLPACK_BRIDGE_UNROLL
      for (u32 j = 0; j < many; ++j) {
        const places at = places_of(a, mine + j * threads * batch);
        target[j] = at.of[0].to;
        DLPACK_BRIDGE_UNROLL
        for (u32 i = 0; i < batch; ++i) values[j].unit[i] = read<Unit>(from + at.of[i].from);
      }
      DLPACK_BRIDGE_UNROLL
      for (u32 j = 0; j < many; ++j) write(to + target[j], values[j]);
    } else {
      for (u32 j = 0; j < many; ++j) {
        const u32 first = mine + j * threads * batch;
        if (first >= count) break;
        const places at = places_of(a, first);
        DLPACK_BRIDGE_UNROLL
        for (u32 i = 0; i < batch; ++i) {
          if (first + i < count) write(to + at.of[i].to, read<Unit>(from + at.of[i].from));
        }
      }
    }
  }
}

extern __shared__ uint4 shared_memory[];

template <class Unit>
__device__ void move_tiles(const gather_arguments& a) {
  constexpr u32 elements = 1U << gather_log2_tile(sizeof(Unit));
  auto* shared = reinterpret_cast<Unit*>(shared_memory);
  const auto* from = static_cast<const std::byte*>(a.from.data);
  auto* to = static_cast<std::byte*>(a.to.data);
  for (u32 index = blockIdx.x; index < a.way.tiles; index += gridDim.x) {
    const tile t = tile_at(a, index);
    DLPACK_BRIDGE_UNROLL_4
    for (u32 k = threadIdx.x; k < elements; k += threads) {
      const tile_index i = as_source(a.way, k);
      if (!is_inside(t, i)) continue;
      shared[shared_index(a.way, i)] = read<Unit>(from + place_in(a, t, i).from);
    }
    __syncthreads();
    DLPACK_BRIDGE_UNROLL_4
    for (u32 k = threadIdx.x; k < elements; k += threads) {
      const tile_index i = as_destination(a.way, k);
      if (is_inside(t, i)) write(to + place_in(a, t, i).to, shared[shared_index(a.way, i)]);
    }
    __syncthreads();
  }
}

template <class Unit>
__device__ void move(const gather_arguments& a) {
  if (a.way.tile_axis != 0) move_tiles<Unit>(a);
  else move_batches<Unit>(a);
}

// ---- conversions --------------------------------------------------------------------------------

/// The bytes of an element, however they are aligned.
__device__ element read_element(const gather_access& access, const std::byte* p) {
  if (access.unit == access.bytes) {
    switch (access.bytes) {
      case 1: return {read<std::uint8_t>(p), 0};
      case 2: return {read<std::uint16_t>(p), 0};
      case 4: return {read<u32>(p), 0};
      case 8: return {read<unsigned long long>(p), 0};
      default: {
        const auto both = read<ulonglong2>(p);
        return {both.x, both.y};
      }
    }
  }
  element words{0, 0};
  for (u32 i = 0; i < access.bytes; i += access.unit) {
    u64 part;
    switch (access.unit) {
      case 1: part = read<std::uint8_t>(p + i); break;
      case 2: part = read<std::uint16_t>(p + i); break;
      case 4: part = read<u32>(p + i); break;
      default: part = read<unsigned long long>(p + i); break;
    }
    (i < 8 ? words.low : words.high) |= part << 8 * (i % 8);
  }
  return words;
}

__device__ void write_element(const gather_access& access, std::byte* p, element words) {
  for (u32 i = 0; i < access.bytes; i += access.unit) {
    const u64 part = (i < 8 ? words.low : words.high) >> 8 * (i % 8);
    switch (access.unit) {
      case 1: write(p + i, static_cast<std::uint8_t>(part)); break;
      case 2: write(p + i, static_cast<std::uint16_t>(part)); break;
      case 4: write(p + i, static_cast<u32>(part)); break;
      case 8: write(p + i, part); break;
      default: write(p, ulonglong2{words.low, words.high}); break;
    }
  }
}

/// A batch that lies side by side.
__device__ void read_batch(const gather_access& access, const std::byte* p, element (&x)[batch]) {
  static_assert(batch == 4);
  switch (access.bytes) {
    case 1: {
      const auto all = read<u32>(p);
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) x[i] = {all >> 8 * i & 0xff, 0};
      return;
    }
    case 2: {
      const auto all = read<unsigned long long>(p);
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) x[i] = {all >> 16 * i & 0xffff, 0};
      return;
    }
    case 4: {
      const auto all = read<uint4>(p);
      x[0] = {all.x, 0}, x[1] = {all.y, 0}, x[2] = {all.z, 0}, x[3] = {all.w, 0};
      return;
    }
    case 8: {
      const auto first = read<ulonglong2>(p), second = read<ulonglong2>(p + 16);
      x[0] = {first.x, 0}, x[1] = {first.y, 0}, x[2] = {second.x, 0}, x[3] = {second.y, 0};
      return;
    }
    default:
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) {
        const auto both = read<ulonglong2>(p + 16 * i);
        x[i] = {both.x, both.y};
      }
  }
}

__device__ void write_batch(const gather_access& access, std::byte* p, const element (&x)[batch]) {
  switch (access.bytes) {
    case 1: {
      u32 all = 0;
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) all |= static_cast<u32>(x[i].low & 0xff) << 8 * i;
      return write(p, all);
    }
    case 2: {
      u64 all = 0;
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) all |= (x[i].low & 0xffff) << 16 * i;
      return write(p, all);
    }
    case 4:
      return write(p, uint4{static_cast<u32>(x[0].low), static_cast<u32>(x[1].low),
                            static_cast<u32>(x[2].low), static_cast<u32>(x[3].low)});
    case 8:
      write(p, ulonglong2{x[0].low, x[1].low});
      return write(p + 16, ulonglong2{x[2].low, x[3].low});
    default:
      DLPACK_BRIDGE_UNROLL
      for (u32 i = 0; i < batch; ++i) write(p + 16 * i, ulonglong2{x[i].low, x[i].high});
  }
}

/// What a thread has in hand.
struct hand {
  element x[batch];
  std::int64_t to[batch];
  u32 held;  // a bit for each element that exists
};

__device__ void read_row(const gather_arguments& a, u32 first, hand& h) {
  const auto* from = static_cast<const std::byte*>(a.from.data);
  const auto count = static_cast<u32>(a.count);
  const places at = places_of(a, first);
  h.held = count - first >= batch ? (1U << batch) - 1 : (1U << (count - first)) - 1;
  if (a.way.from.together && count - first >= batch) {
    read_batch(a.way.from, from + at.of[0].from, h.x);
  } else {
    DLPACK_BRIDGE_UNROLL
    for (u32 i = 0; i < batch; ++i) {
      if (first + i < count) h.x[i] = read_element(a.way.from, from + at.of[i].from);
    }
  }
  DLPACK_BRIDGE_UNROLL
  for (u32 i = 0; i < batch; ++i) h.to[i] = at.of[i].to;
}

/// All threads of the block come here together; the next tile may only follow a barrier.
__device__ void read_tile(const gather_arguments& a, u32 index, hand& h) {
  const auto* from = static_cast<const std::byte*>(a.from.data);
  auto* shared = reinterpret_cast<std::byte*>(shared_memory);
  const gather_access stored{a.way.from.bytes, a.way.from.bytes, 0, 1};
  const tile t = tile_at(a, index);
  DLPACK_BRIDGE_UNROLL
  for (u32 j = 0; j < batch; ++j) {
    const tile_index i = as_source(a.way, threadIdx.x + j * threads);
    if (is_inside(t, i)) h.x[j] = read_element(a.way.from, from + place_in(a, t, i).from);
  }
  DLPACK_BRIDGE_UNROLL
  for (u32 j = 0; j < batch; ++j) {
    const tile_index i = as_source(a.way, threadIdx.x + j * threads);
    if (is_inside(t, i)) {
      write_element(stored, shared + shared_index(a.way, i) * stored.bytes, h.x[j]);
    }
  }
  __syncthreads();
  h.held = 0;
  DLPACK_BRIDGE_UNROLL
  for (u32 j = 0; j < batch; ++j) {
    const tile_index i = as_destination(a.way, threadIdx.x + j * threads);
    if (!is_inside(t, i)) continue;
    const std::byte* p = shared + shared_index(a.way, i) * stored.bytes;
    switch (stored.bytes) {
      case 1: h.x[j] = {*reinterpret_cast<const std::uint8_t*>(p), 0}; break;
      case 2: h.x[j] = {*reinterpret_cast<const std::uint16_t*>(p), 0}; break;
      case 4: h.x[j] = {*reinterpret_cast<const u32*>(p), 0}; break;
      case 8: h.x[j] = {*reinterpret_cast<const u64*>(p), 0}; break;
      default: h.x[j] = *reinterpret_cast<const element*>(p); break;
    }
    h.to[j] = place_in(a, t, i).to;
    h.held |= 1U << j;
  }
}

__device__ void write_hand(const gather_arguments& a, bool tiled, const hand& h) {
  auto* to = static_cast<std::byte*>(a.to.data);
  if (!tiled && a.way.to.together && h.held == (1U << batch) - 1) {
    return write_batch(a.way.to, to + h.to[0], h.x);
  }
  DLPACK_BRIDGE_UNROLL
  for (u32 i = 0; i < batch; ++i) {
    if ((h.held >> i & 1) != 0) write_element(a.way.to, to + h.to[i], h.x[i]);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(gather_threads)
    dlpack_bridge_gather_move(const __grid_constant__ gather_arguments a) {
  switch (a.way.from.bytes) {
    case 1: return move<std::uint8_t>(a);
    case 2: return move<std::uint16_t>(a);
    case 4: return move<u32>(a);
    case 8: return move<unsigned long long>(a);
    default: return move<uint4>(a);
  }
}

extern "C" __global__ void __launch_bounds__(gather_threads)
    dlpack_bridge_gather(const __grid_constant__ gather_arguments a) {
  const bool tiled = a.way.tile_axis != 0;
  const auto count = static_cast<u32>(a.count);
  const u32 items = tiled ? a.way.tiles : (count + batch * threads - 1) / (batch * threads);
  for (u32 item = blockIdx.x; item < items; item += gridDim.x) {
    hand h;
    if (tiled) {
      read_tile(a, item, h);
    } else {
      const u32 first = (item * threads + threadIdx.x) * batch;
      if (first >= count) return;
      read_row(a, first, h);
    }
    DLPACK_BRIDGE_UNROLL
    for (u32 i = 0; i < batch; ++i) h.x[i] = split_parts(a.way.from, h.x[i]);
    convert(a.way, h.x);
    DLPACK_BRIDGE_UNROLL
    for (u32 i = 0; i < batch; ++i) h.x[i] = join_parts(a.way.to, h.x[i]);
    write_hand(a, tiled, h);
    if (tiled) __syncthreads();
  }
}

}  // namespace dlpack_bridge::cuda
