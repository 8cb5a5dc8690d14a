#include <dlpack_bridge/copy.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include <dlpack_bridge/copy_arithmetic.hpp>
#include <dlpack_bridge/copy_blocks.hpp>
#include <dlpack_bridge/copy_move.hpp>
#include <dlpack_bridge/copy_plan.hpp>
#include <dlpack_bridge/copy_road.hpp>
#include <dlpack_bridge/copy_stream.hpp>
#include <dlpack_bridge/copy_threads.hpp>

// The road of a copy: the layouts become a plan (copy_plan), the types become a road of steps
// (copy_road), the plan is cut into parts for the threads (copy_threads, copy_pool), each part is
// walked block by block, and a block is taken tile by tile (copy_tiles, copy_blocks) and moved
// (copy_move), converted (copy_runs, copy_kernels) or both at once (copy_widen).
namespace dlpack_bridge {
namespace {

using namespace detail;

/// Read and written. A thread takes some ten microseconds to wake, in which 100 KB could be copied.
constexpr extent bytes_worth_threads = extent{1} << 20;
constexpr extent bytes_worth_a_thread = extent{1} << 18;
/// Large parts leave each thread what it had the last time, in its own cache; transposed tiles take so long
/// that smaller ones are worth handing over.
constexpr extent bytes_of_a_part = extent{1} << 19;
constexpr extent bytes_of_a_transposed_part = extent{1} << 18;
constexpr extent most_parts_of_a_thread = 8;

/// Where the caches cannot hold what is read and written; a transposed copy misses them earlier.
constexpr extent bytes_worth_streaming = extent{1} << 25;
constexpr extent bytes_worth_streaming_transposed = extent{1} << 21;

/// Which two axes make a block: the innermost one of the destination, and the one along which the
/// source goes with the smallest steps if that is another, so that both sides are read and written
/// in whole cache lines; else the next one outward. The row axis of a plan with one axis is -1.
int row_axis_of(const copy_plan& plan) noexcept {
  const int inner = plan.size - 1;
  int best = inner - 1;
  extent smallest = inner >= 0 ? std::abs(plan.axes[inner].from) : 0;
  for (int i = 0; i < inner; ++i) {
    const extent step = std::abs(plan.axes[i].from);
    if (step != 0 && step < smallest) best = i, smallest = step;
  }
  return best;
}

strided_block block_of(const copy_plan& plan, int row_axis) noexcept {
  strided_block block{plan.from, plan.to, 1, 1, 0, 0, 0, 0};
  if (plan.size > 0) {
    const copy_axis& inner = plan.axes[plan.size - 1];
    block.count = inner.count;
    block.from_step = inner.from;
    block.to_step = inner.to;
  }
  if (row_axis >= 0) {
    const copy_axis& rows = plan.axes[row_axis];
    block.rows = rows.count;
    block.from_row = rows.from;
    block.to_row = rows.to;
  }
  return block;
}

/// Calls `work` for every block of a plan.
template <class Work>
void for_each_block(const copy_plan& plan, int row_axis, const Work& work) {
  strided_block block = block_of(plan, row_axis);
  std::array<extent, copy_plan::most_axes> index;
  std::fill_n(index.begin(), plan.size, extent{0});
  while (true) {
    work(block);
    int axis = plan.size - 1;
    while (--axis >= 0) {
      if (axis == row_axis) continue;
      const copy_axis& a = plan.axes[axis];
      block.from += a.from;
      block.to += a.to;
      if (++index[axis] < a.count) break;
      block.from -= a.from * a.count;
      block.to -= a.to * a.count;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/// The axis to cut for threads: the outermost one that is long enough, else the longest.
int axis_to_cut(const copy_plan& plan, extent parts) noexcept {
  int longest = 0;
  for (int i = 0; i < plan.size; ++i) {
    if (plan.axes[i].count >= 4 * parts) return i;
    if (plan.axes[i].count > plan.axes[longest].count) longest = i;
  }
  return longest;
}

/// Where more is read than written, the stores are not what takes time.
bool is_worth_streaming(const strided_block& shape, extent count, extent from_size,
                        extent to_size) noexcept {
  if (is_transposed(shape)) return count * to_size >= bytes_worth_streaming_transposed;
  const extent read = std::min(std::max(std::abs(shape.from_step), from_size), cache_line);
  const extent most_read = streams_halves_of(read) ? 2 * to_size : to_size;
  return read <= most_read && count * (read + to_size) >= bytes_worth_streaming;
}

/// Whether one run of bytes on each side holds all elements.
bool is_dense(const copy_plan& plan, extent from_size, extent to_size) noexcept {
  if (plan.size == 0) return true;
  const copy_axis& axis = plan.axes[0];
  return plan.size == 1 && axis.from == from_size && axis.to == to_size;
}

/// As many parts for each thread: where one has one more, the others wait for it.
extent parts_for(extent bytes, int threads, bool transposed) noexcept {
  const extent unit = transposed ? bytes_of_a_transposed_part : bytes_of_a_part;
  const extent each = (bytes / unit + threads - 1) / threads;
  return std::min<extent>(each, most_parts_of_a_thread) * threads;
}

/// Copies a planned array along a road, with threads where it is large.
void run(copy_plan& plan, const road& way, extent from_size, extent to_size) {
  const int row_axis = row_axis_of(plan);
  if (row_axis >= 0 && is_transposed(block_of(plan, row_axis))) {
    turn_source_forward(plan, plan.axes[row_axis]);
  }
  const strided_block shape = block_of(plan, row_axis);
  const extent count = plan.elements();
  const bool streaming = is_worth_streaming(shape, count, from_size, to_size);
  const block_copier copy_block(way, from_size, to_size, shape, streaming);
  const auto copy_plan_part = [&](const copy_plan& part) {
    std::optional<plain_arithmetic> here;
    if (way.size > 0) here.emplace();
    for_each_block(part, row_axis, copy_block);
    copy_block.finish();
  };

  const extent bytes = count * (from_size + to_size);
  if (bytes < bytes_worth_threads || plan.size == 0) return copy_plan_part(plan);
  const auto threads =
      static_cast<int>(std::min<extent>(copy_threads(), bytes / bytes_worth_a_thread));
  if (threads == 1) return copy_plan_part(plan);
  const extent wanted = parts_for(bytes, threads, is_transposed(shape));
  const int axis = axis_to_cut(plan, wanted);
  const extent length = plan.axes[axis].count;
  const extent parts = std::min(wanted, length);
  parallel_for(parts, threads, [&](extent part) {
    // In whole groups of 64, so that two threads seldom write to one cache line, else in groups of 16: of a
    // transposed array these elements are read side by side.
    const auto bound = [&](extent i) {
      const extent exact = length / parts * i + length % parts * i / parts;
      if (i == parts || length < 16 * parts) return i == parts ? length : exact;
      return length < 64 * parts ? (exact + 8) & ~extent{15} : exact & ~extent{63};
    };
    copy_plan_part(slice_of(plan, axis, bound(part), bound(part + 1)));
  });
}

/// Copies bytes that lie side by side.
void copy_run(const std::byte* from, std::byte* to, extent bytes) {
  if (2 * bytes >= bytes_worth_threads) {
    copy_plan plan;
    plan.from = from;
    plan.to = to;
    plan.axes[plan.size++] = {bytes, 1, 1};
    run(plan, road(), 1, 1);
  } else if (bytes > 0) {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }
}

/// The same elements on both sides, which are row-major.
void copy_dense(std::span<const extent> shape, const side& from, const side& to, dtype type) {
  extent count = 1;
  for (const extent n : shape) count *= std::max<extent>(n, 0);
  copy_run(from.data, to.data, dense_bytes(count, type));
}

/// What cannot be said in bytes per element: both sides have to be dense already.
void copy_packed(std::span<const extent> shape, const side& from, const side& to, dtype type) {
  for (const side* s : {&from, &to}) {
    if (!is_c_contiguous(shape, s->strides, s->itemsize)) {
      throw std::invalid_argument(type.name() +
                                  " is packed and can only be copied between C-contiguous arrays");
    }
  }
  copy_dense(shape, from, to, type);
}

/// Converts elements; what is small and dense needs no blocks.
void convert(copy_plan& plan, const road& way, extent from_size, extent to_size) {
  const extent count = plan.elements();
  if (count * (from_size + to_size) >= bytes_worth_threads || !is_dense(plan, from_size, to_size)) {
    return run(plan, way, from_size, to_size);
  }
  const plain_arithmetic here;
  run_converter(way, from_size, to_size)(plan.from, plan.to, count);
}

/// Copies elements that stay as they are.
void copy_elements(copy_plan& plan, extent itemsize) {
  if (is_dense(plan, itemsize, itemsize)) {
    return copy_run(plan.from, plan.to, plan.elements() * itemsize);
  }
  const extent size = resize_elements(plan, itemsize);
  run(plan, road(), size, size);
}

bool changes_elements(element_change change) noexcept {
  return change.swap_bytes || change.negate || change.conjugate;
}

/// Out of line, for the sake of those that need no plan.
[[gnu::noinline]] void copy_as_planned(std::span<const extent> shape, const side& from,
                                       dtype from_type, const side& to, dtype to_type,
                                       element_change change) {
  if (!can_copy(from_type, to_type)) {
    throw std::invalid_argument("cannot convert " + from_type.name() + " to " + to_type.name());
  }
  if (from_type.is_packed()) return copy_packed(shape, from, to, from_type);

  copy_plan plan = make_plan(shape.data(), static_cast<std::int32_t>(shape.size()), from, to);
  if (plan.empty || from_type.itemsize() == 0) return;
  const bool changes = changes_elements(change);
  if (from_type == to_type && !changes) return copy_elements(plan, from_type.itemsize());
  if (from_type.lanes != 1 && changes) {
    split_elements(plan, from_type.lanes, from_type.bits / 8);
    from_type.lanes = to_type.lanes = 1;
  }
  const road way = road_between(from_type, to_type, change);
  if (way.size == 0) return copy_elements(plan, way.from.itemsize());
  convert(plan, way, way.from.itemsize(), to_type.itemsize());
}

void copy_between(std::span<const extent> shape, const side& from, dtype from_type, const side& to,
                  dtype to_type, element_change change) {
  const bool row_major = from.strides == nullptr && to.strides == nullptr;
  if (row_major && from_type == to_type && !changes_elements(change)) {
    copy_dense(shape, from, to, from_type);
  } else {
    copy_as_planned(shape, from, from_type, to, to_type, change);
  }
}

side side_of(const tensor_view& view) noexcept {
  const extent itemsize = view.dtype().itemsize();
  return {static_cast<std::byte*>(view.data()), view.strides(), itemsize, itemsize};
}

// What is written to an element twice would depend on the order. Strides in elements will do: two of
// them meet in a byte where they are the same.
bool overlaps_itself(const tensor_view& view) noexcept {
  if (facts_of(view.shape().data(), view.strides(), view.ndim()).nested) return false;
  return dlpack_bridge::overlaps_itself(view.shape(), view.strides(), 1) != answer::no;
}

}  // namespace

bool can_copy(dtype from, dtype to) noexcept {
  if (from == to) return true;
  return convertible_dtypes.contains(id_of(from)) && convertible_dtypes.contains(id_of(to));
}

void copy(const extent* shape, std::int32_t ndim, const strided_memory& from,
          const strided_memory& to, element_change change) {
  const std::span<const extent> extents(shape, static_cast<std::size_t>(ndim));
  copy_between(extents, side_of(from), from.type, side_of(to), to.type, change);
}

void copy(const tensor_view& from, const tensor_view& to) {
  if (!std::ranges::equal(from.shape(), to.shape())) {
    throw std::invalid_argument("copy needs two arrays of one shape");
  }
  if (to.read_only()) throw std::invalid_argument("the destination of a copy is read-only");
  if (overlaps_itself(to)) {
    throw std::invalid_argument(
        "elements of the destination of a copy share memory with each other");
  }
  for (const tensor_view* view : {&from, &to}) {
    if (!cpu_reads(view->device().type)) {
      throw std::invalid_argument("copy needs host memory, not " + view->device().name());
    }
  }
  copy_between(from.shape(), side_of(from), from.dtype(), side_of(to), to.dtype(), {});
}

}  // namespace dlpack_bridge
