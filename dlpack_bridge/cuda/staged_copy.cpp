#include <dlpack_bridge/cuda/staged_copy.hpp>

#include <algorithm>
#include <array>
#include <optional>

#include <dlpack_bridge/cuda/copy_engine.hpp>
#include <dlpack_bridge/cuda/device_copy.hpp>
#include <dlpack_bridge/cuda/staging.hpp>

namespace dlpack_bridge::cuda {
namespace {

using strides = std::array<extent, detail::copy_plan::most_axes>;

/// A part of a copy with a dense array in the middle, which a chunk has room for. What the source
/// repeats is there once, if so wanted.
struct staged_piece {
  std::int32_t ndim = 0;
  std::byte* from_data;
  std::byte* to_data;
  strides shape, from, middle, to;

  staged_piece(const detail::copy_plan& piece, extent itemsize, bool repeats_once)
      : ndim(piece.size), from_data(const_cast<std::byte*>(piece.from)), to_data(piece.to) {
    extent dense = itemsize;
    for (auto i = static_cast<std::size_t>(ndim); i-- > 0;) {
      const detail::copy_axis& axis = piece.axes[i];
      shape[i] = axis.count;
      from[i] = axis.from;
      to[i] = axis.to;
      const bool repeats = repeats_once && axis.from == 0;
      middle[i] = repeats ? 0 : dense;
      if (!repeats) dense *= axis.count;
    }
  }

  /// The first half without the axes along which it would write everything again.
  staged_piece without_repeats() const {
    staged_piece once = *this;
    for (auto& n : once.shape) n = 1;
    for (std::size_t i = 0; i < static_cast<std::size_t>(ndim); ++i) {
      if (middle[i] != 0) once.shape[i] = shape[i];
    }
    return once;
  }
};

/// What happens to the types in each half of a staged copy.
struct staged_types {
  dtype from, middle, to;
  element_change first, second;

  /// The types are converted in the first half or in the second.
  static staged_types of(const planned_copy& copy, bool in_first) noexcept {
    if (in_first) return {copy.from_type, copy.to_type, copy.to_type, copy.change, {}};
    return {copy.way.from, copy.way.from, copy.to_type, {}, copy.change};
  }
  extent most_elements() const noexcept {
    return static_cast<extent>(staging_chunk::bytes) / middle.itemsize();
  }
};

bool converts_first(const planned_copy& copy) noexcept {
  return copy.to_size() <= copy.from_size();
}

bool has_repeats(const planned_copy& copy) noexcept {
  const auto end = copy.plan.axes.begin() + copy.plan.size;
  return std::any_of(copy.plan.axes.begin(), end, [](const detail::copy_axis& axis) {
    return axis.from == 0 && axis.count > 1;
  });
}

// To ask for kernels loads them the first time, for which other work may have to wait. So they are
// asked for only where the device has more to do than to move blocks.

bool has_kernels_to_widen(const driver_api& api, const placed_stream& stream,
                          const planned_copy& copy) {
  const bool widens = !copy.moves() && !converts_first(copy);
  return (widens || has_repeats(copy)) && kernels_for(api, stream);
}

bool has_kernels_to_gather(const driver_api& api, const placed_stream& stream,
                           const planned_copy& copy) {
  return road_of(copy, true) == device_road::gather && kernels_for(api, stream);
}

/// The same copy with its axes in the order in which the source lies, so that what the copy engines
/// have to do with it is simple.
detail::copy_plan as_source_lies(const planned_copy& copy) {
  const detail::copy_plan& plan = copy.plan;
  strides shape, from, to;
  for (std::size_t i = 0; i < static_cast<std::size_t>(plan.size); ++i) {
    shape[i] = plan.axes[i].count;
    from[i] = plan.axes[i].from;
    to[i] = plan.axes[i].to;
  }
  detail::copy_plan turned =
      detail::make_plan(shape.data(), plan.size, {plan.to, to.data(), 1, copy.to_size()},
                        {const_cast<std::byte*>(plan.from), from.data(), 1, copy.from_size()});
  std::byte* const source = turned.to;
  turned.to = const_cast<std::byte*>(turned.from);
  turned.from = source;
  for (int i = 0; i < turned.size; ++i) std::swap(turned.axes[i].from, turned.axes[i].to);
  return turned;
}

/// The device half of a piece: to or from the chunk. Without kernels it is a plain move of dense or
/// nearly dense memory, for which the engines are called as often as it takes.
void put_half(const driver_api& api, const placed_stream& stream, const planned_copy& half) {
  if (copy_on_device(api, stream, half)) return;
  for_each_block(blocks_of(half.plan, half.from_size(), most_row),
                 [&](const block_copy& block) { put_block(api, stream, block); });
}

/// A chunk that the device fills, and what becomes of it.
struct drain {
  staging_chunk chunk;
  staged_piece piece;
};

void empty_chunk(const driver_api& api, drain& d, const staged_types& types) {
  d.chunk.wait(api);
  const staged_piece& p = d.piece;
  dlpack_bridge::copy(p.shape.data(), p.ndim, {d.chunk.data(), p.middle.data(), types.middle},
                      {p.to_data, p.to.data(), types.to}, types.second);
}

}  // namespace

void copy_from_host(const driver_api& api, const placed_stream& stream, const planned_copy& copy) {
  const bool kernels = has_kernels_to_widen(api, stream, copy);
  const staged_types types = staged_types::of(copy, !kernels || converts_first(copy));
  for_each_piece(copy.plan, types.most_elements(), [&](const detail::copy_plan& part) {
    const staged_piece piece(part, types.middle.itemsize(), kernels);
    const staged_piece first = piece.without_repeats();
    staging_chunk chunk(api, stream);
    dlpack_bridge::copy(first.shape.data(), first.ndim,
                        {piece.from_data, piece.from.data(), types.from},
                        {chunk.data(), piece.middle.data(), types.middle}, types.first);
    const planned_copy second =
        plan_copy(piece.shape.data(), piece.ndim, {chunk.data(), piece.middle.data(), types.middle},
                  {piece.to_data, piece.to.data(), types.to}, types.second);
    chunk.enter(stream);
    put_half(api, stream, second);
    chunk.leave(api);
  });
}

void copy_to_host(const driver_api& api, const placed_stream& stream, const planned_copy& copy) {
  const bool kernels = has_kernels_to_gather(api, stream, copy);
  const staged_types types = staged_types::of(copy, kernels && converts_first(copy));
  const detail::copy_plan plan = kernels ? copy.plan : as_source_lies(copy);
  std::optional<drain> filled;
  for_each_piece(plan, types.most_elements(), [&](const detail::copy_plan& part) {
    drain next{staging_chunk(api, stream), staged_piece(part, types.middle.itemsize(), true)};
    const staged_piece& piece = next.piece;
    const staged_piece once = piece.without_repeats();
    const planned_copy first =
        plan_copy(once.shape.data(), once.ndim, {piece.from_data, piece.from.data(), types.from},
                  {next.chunk.data(), piece.middle.data(), types.middle}, types.first);
    next.chunk.enter(stream);
    put_half(api, stream, first);
    next.chunk.leave(api);
    if (filled) empty_chunk(api, *filled, types);
    filled.emplace(std::move(next));
  });
  if (filled) empty_chunk(api, *filled, types);
}

}  // namespace dlpack_bridge::cuda
