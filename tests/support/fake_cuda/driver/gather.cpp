#include <algorithm>
#include <cstdint>

#include "gather.hpp"
#include <dlpack_bridge/copy.hpp>

namespace fake_cuda {
namespace {

using dlpack_bridge::dtype;
using dlpack_bridge::cuda::gather_arguments;
using dlpack_bridge::cuda::gather_side;

constexpr std::int64_t most_elements = 1 << 18;

dtype type_of(const gather_side& s) { return dtype(DLDataType{s.code, s.bits, s.lanes}); }

void add_bounds(const gather_arguments& a, const gather_side& s, bool writes,
                std::vector<touched>& out) {
  std::int64_t low = 0, high = type_of(s).itemsize();
  for (int i = 0; i < a.ndim; ++i) {
    const std::int64_t reach = (a.shape[i] - 1) * s.byte_strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<address>(s.data);
  out.push_back({{base + static_cast<address>(low), base + static_cast<address>(high)}, writes});
}

void add_elements(const gather_arguments& a, const gather_side& s, bool writes,
                  std::vector<touched>& out) {
  std::vector<std::int64_t> offsets{0};
  for (int i = 0; i < a.ndim; ++i) {
    const std::size_t inner = offsets.size();
    for (std::int64_t at = 1; at < a.shape[i]; ++at) {
      for (std::size_t j = 0; j < inner; ++j) {
        offsets.push_back(offsets[j] + at * s.byte_strides[i]);
      }
    }
  }
  std::ranges::sort(offsets);
  const auto base = reinterpret_cast<address>(s.data);
  const auto size = static_cast<address>(type_of(s).itemsize());
  const std::size_t first = out.size();
  for (const std::int64_t offset : offsets) {
    const address begin = base + static_cast<address>(offset);
    const bool next = out.size() > first && out.back().bytes.end >= begin;
    if (next) out.back().bytes.end = std::max(out.back().bytes.end, begin + size);
    else out.push_back({{begin, begin + size}, writes});
  }
}

}  // namespace

std::vector<touched> gather_ranges(const gather_arguments& a) {
  std::vector<touched> ranges;
  const auto add = a.count > most_elements ? add_bounds : add_elements;
  add(a, a.from, false, ranges);
  add(a, a.to, true, ranges);
  return ranges;
}

const char* gather_fault(const gather_arguments& a, bool moves_only) {
  if (a.ndim < 1 || a.ndim > dlpack_bridge::cuda::gather_axes) return "impossible number of axes";
  std::int64_t count = 1;
  for (int i = 0; i < a.ndim; ++i) count *= a.shape[i];
  if (count != a.count || count <= 0) return "count is not the product of the shape";
  const dtype from = type_of(a.from), to = type_of(a.to);
  if (!dlpack_bridge::can_copy(from, to)) return "no such conversion";
  const bool changes = a.swap_bytes != 0 || a.conjugate != 0 || a.negate != 0;
  if (moves_only && (from != to || changes)) return "the kernel that moves cannot convert";
  return nullptr;
}

void gather(const gather_arguments& a) {
  const dlpack_bridge::strided_memory from{a.from.data, a.from.byte_strides, type_of(a.from)};
  const dlpack_bridge::strided_memory to{a.to.data, a.to.byte_strides, type_of(a.to)};
  dlpack_bridge::copy(
      a.shape, a.ndim, from, to,
      {.swap_bytes = a.swap_bytes != 0, .conjugate = a.conjugate != 0, .negate = a.negate != 0});
}

}  // namespace fake_cuda
