#include <dlpack_bridge/cuda/gather_launch.hpp>

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace dlpack_bridge::cuda {
namespace {

using detail::copy_axis;
using detail::copy_plan;

/// The widest access of a thread.
constexpr extent widest = 16;

/// Enough for every chip; the kernels loop over the rest, counting in 32 bits.
constexpr extent most_blocks = extent{1} << 19;

constexpr std::uint32_t bits_for(extent n) noexcept {
  return static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint64_t>(n - 1)));
}

/// n / divisor is (high word of n * multiplier + n) >> shift, for all n below 2^31.
gather_divisor divisor_of(extent divisor) noexcept {
  const std::uint32_t shift = bits_for(divisor);
  const auto d = static_cast<std::uint64_t>(divisor);
  const std::uint64_t multiplier = (((std::uint64_t{1} << shift) - d) << 32) / d + 1;
  return {static_cast<std::uint32_t>(multiplier), shift};
}

enum class end { from, to };

extent stride(const copy_axis& axis, end which) noexcept {
  return which == end::from ? axis.from : axis.to;
}

std::uintptr_t base_of(const copy_plan& plan, end which) noexcept {
  return reinterpret_cast<std::uintptr_t>(which == end::from ? plan.from : plan.to);
}

/// The largest power of two up to 16 that divides the address of every element and `bytes`.
extent alignment_of(const copy_plan& plan, end which, extent bytes) noexcept {
  std::uint64_t all = base_of(plan, which) | static_cast<std::uint64_t>(bytes) | widest;
  for (int i = 0; i < plan.size; ++i) {
    all |= static_cast<std::uint64_t>(stride(plan.axes[i], which));
  }
  return static_cast<extent>(all & -all);
}

/// True when each batch of neighbours lies side by side, aligned for the widest access.
bool is_together(const copy_plan& plan, end which, extent bytes) noexcept {
  if (plan.size == 0) return false;
  const extent aligned = std::min(widest, gather_batch * bytes);
  const copy_axis& inner = plan.axes[plan.size - 1];
  if (stride(inner, which) != bytes) return false;
  if (base_of(plan, which) % static_cast<std::uintptr_t>(aligned) != 0) return false;
  bool linear = true, aligned_rows = inner.count % gather_batch == 0;
  extent dense = bytes * inner.count;
  for (int i = plan.size - 1; i-- > 0;) {
    linear = linear && stride(plan.axes[i], which) == dense;
    aligned_rows = aligned_rows && stride(plan.axes[i], which) % aligned == 0;
    dense *= plan.axes[i].count;
  }
  return linear || aligned_rows;
}

gather_access access_of(const copy_plan& plan, end which, dtype type) noexcept {
  const extent bytes = type.itemsize();
  return {static_cast<std::uint8_t>(bytes),
          static_cast<std::uint8_t>(alignment_of(plan, which, bytes)),
          static_cast<std::uint8_t>(is_together(plan, which, bytes)),
          static_cast<std::uint8_t>(type.code == kDLComplex ? 2 : 1)};
}

gather_side side_of(const copy_plan& plan, end which, dtype type) noexcept {
  gather_side side{};
  side.data = reinterpret_cast<void*>(base_of(plan, which));
  for (int i = 0; i < plan.size; ++i) {
    side.byte_strides[i] = stride(plan.axes[plan.size - 1 - i], which);
  }
  side.code = type.code;
  side.bits = type.bits;
  side.lanes = type.lanes;
  return side;
}

/// The axis along which the source goes with smaller steps than along the innermost one; 0 for
/// none.
int tile_axis_of(const gather_arguments& a) noexcept {
  int best = 0;
  for (int i = 1; i < a.ndim; ++i) {
    const extent step = std::abs(a.from.byte_strides[i]);
    if (step != 0 && step < std::abs(a.from.byte_strides[best])) best = i;
  }
  return best;
}

/// Chooses tiles that are as square as the array allows; none where most of them would be empty.
void choose_tiles(gather_launch& launch, int log2_elements) noexcept {
  gather_arguments& a = launch.arguments;
  const int axis = tile_axis_of(a);
  if (axis == 0) return;
  const extent columns = a.shape[0], rows = a.shape[axis];
  std::uint32_t across = static_cast<std::uint32_t>(log2_elements) / 2, along;
  across = std::min(across, bits_for(rows));
  along = static_cast<std::uint32_t>(log2_elements) - across;
  if (bits_for(columns) < along) {
    along = bits_for(columns);
    across = std::min(static_cast<std::uint32_t>(log2_elements) - along, bits_for(rows));
  }
  // Half full at least, as both extents are rounded up.
  if (static_cast<int>(across + along) < log2_elements - 1) return;
  along = static_cast<std::uint32_t>(log2_elements) - across;

  gather_way& way = a.way;
  way.tile_axis = static_cast<std::uint8_t>(axis);
  way.log2_tile[0] = static_cast<std::uint8_t>(along);
  way.log2_tile[1] = static_cast<std::uint8_t>(across);
  const auto tiles = [](extent n, std::uint32_t log2) {
    return static_cast<std::uint32_t>((n + (extent{1} << log2) - 1) >> log2);
  };
  way.tiles_along[0] = tiles(columns, along);
  way.tiles_along[1] = tiles(rows, across);
  const extent others = a.count / (columns * rows);
  way.tiles = static_cast<std::uint32_t>(others) * way.tiles_along[0] * way.tiles_along[1];
  // Rows of a tile begin in different banks of the shared memory, which are 4 bytes wide.
  const std::uint32_t bytes = way.from.bytes;
  way.tile_pitch = (1U << across) + (bytes < 4 ? 4 / bytes : 1);
  launch.shared_bytes = (way.tile_pitch << along) * bytes;
}

}  // namespace

void fit_units(planned_copy& copy) noexcept {
  if (copy.plan.empty || !copy.moves()) return;
  copy_plan& plan = copy.plan;
  extent size = copy.from_size();
  const extent aligned =
      std::min(alignment_of(plan, end::from, size), alignment_of(plan, end::to, size));
  if (aligned < size) {
    detail::split_elements(plan, size / aligned, aligned);
    size = aligned;
  }
  while (size < widest && plan.size > 0) {
    const extent wide = 2 * size;
    copy_plan wider = plan;
    copy_axis& inner = wider.axes[plan.size - 1];
    if (inner.from != size || inner.to != size || inner.count % 2 != 0) break;
    inner = {inner.count / 2, wide, wide};
    const extent fits =
        std::min(alignment_of(wider, end::from, wide), alignment_of(wider, end::to, wide));
    if (fits < wide) break;
    plan = wider;
    size = wide;
  }
  plan = without_single_axes(plan);
  copy.from_type = copy.to_type = copy.way.from = dtype(kDLUInt, static_cast<int>(8 * size));
}

gather_launch make_launch(const planned_copy& copy) noexcept {
  copy_plan plan = copy.plan;
  if (plan.size == 0) plan.axes[plan.size++] = {1, copy.from_size(), copy.to_size()};

  gather_launch launch{};
  gather_arguments& a = launch.arguments;
  a.from = side_of(plan, end::from, copy.from_type);
  a.to = side_of(plan, end::to, copy.to_type);
  a.ndim = plan.size;
  a.count = 1;
  for (int i = 0; i < plan.size; ++i) {
    a.shape[i] = plan.axes[plan.size - 1 - i].count;
    a.count *= a.shape[i];
    a.way.extents[i] = divisor_of(a.shape[i]);
  }
  a.swap_bytes = copy.change.swap_bytes;
  a.conjugate = copy.change.conjugate;
  a.negate = copy.change.negate;
  a.way.from = access_of(plan, end::from, copy.way.from);
  a.way.to = access_of(plan, end::to, copy.to_type);
  for (int i = 0; i < copy.way.size; ++i) {
    a.way.steps[i] = {copy.way.steps[i].operation, copy.way.steps[i].units};
  }
  a.way.step_count = copy.way.size;

  const std::size_t bytes = a.way.from.bytes;
  launch.moves = copy.moves();
  const int log2_batches = std::countr_zero(unsigned{gather_threads * gather_batch});
  choose_tiles(launch, copy.moves() ? gather_log2_tile(bytes) : log2_batches);
  const extent per_block =
      extent{gather_threads} * gather_batch * (copy.moves() ? gather_batches(bytes) : 1);
  const extent work = a.way.tile_axis != 0 ? a.way.tiles : (a.count + per_block - 1) / per_block;
  launch.blocks = static_cast<unsigned>(std::min(work, most_blocks));
  return launch;
}

}  // namespace dlpack_bridge::cuda
