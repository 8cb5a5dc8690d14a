#include <dlpack_bridge/exchange.hpp>

#include <algorithm>
#include <vector>

namespace dlpack_bridge {
namespace {

// Strides of the source in bytes, for the copy and for address questions.
class byte_strides_of {
 public:
  explicit byte_strides_of(const description& s) {
    const std::int64_t step = std::max<std::int64_t>(s.itemsize, 1);
    const auto ndim = static_cast<std::size_t>(s.view.ndim());
    if (ndim > std::size(inline_)) overflow_.resize(ndim);
    values_ = ndim > std::size(inline_) ? overflow_.data() : inline_;
    if (s.view.strides() == nullptr) {
      row_major_strides(s.view.shape(), values_, step);
      return;
    }
    for (std::size_t i = 0; i < ndim; ++i) {
      // A stride that overflows belongs to an axis of extent 1: validate refused the others.
      if (s.byte_strides) values_[i] = s.view.strides()[i];
      else if (__builtin_mul_overflow(s.view.strides()[i], step, &values_[i])) values_[i] = 0;
    }
  }
  byte_strides_of(const byte_strides_of&) = delete;
  byte_strides_of& operator=(const byte_strides_of&) = delete;
  const extent* get() const noexcept { return values_; }

 private:
  extent inline_[16];
  std::vector<extent> overflow_;
  extent* values_;
};

const device_backend& backend_for(const description& s, const decision& d) noexcept {
  const bool cuda =
      needs_cuda(s.view.device().type) || needs_cuda(d.device.type) || d.device.type == kDLCUDAHost;
  return cuda && cuda_backend() != nullptr ? *cuda_backend() : host_backend();
}

// Asks about the axes that move the address only: more than these cannot be longer than 1.
bool overlaps(const description& s) noexcept {
  extent shape[64], strides[64];
  const std::int64_t step = s.byte_strides ? 1 : std::max<std::int64_t>(s.itemsize, 1);
  std::size_t moving = 0;
  for (std::int32_t i = 0; i < s.view.ndim(); ++i) {
    if (s.view.shape(i) == 1) continue;
    if (moving == std::size(shape)) return true;
    shape[moving] = s.view.shape(i);
    if (__builtin_mul_overflow(s.view.strides()[i], step, &strides[moving])) return true;
    ++moving;
  }
  return overlaps_itself({shape, moving}, strides, s.itemsize) != answer::no;
}

// Managed memory is the same memory under every label it is shown with.
bool may_share(device a, device b) noexcept {
  if (a == b) return true;
  const auto on_host = [](DLDeviceType type) {
    return is_host_memory(type) || type == kDLCUDAManaged;
  };
  const bool managed = a.type == kDLCUDAManaged || b.type == kDLCUDAManaged;
  return (on_host(a.type) && on_host(b.type)) ||
         (managed && needs_cuda(a.type) && needs_cuda(b.type));
}

// The shape under which the elements leave: packed elements asked for as bits become bytes.
std::span<const extent> result_shape(const description& s, const decision& d, extent* room) {
  const dtype from = s.view.dtype();
  if (!from.is_packed() || d.dtype == from || s.view.ndim() == 0) return s.view.shape();
  std::ranges::copy(s.view.shape(), room);
  extent& last = room[s.view.ndim() - 1];
  last = last * from.element_bits() / 8;
  return {room, static_cast<std::size_t>(s.view.ndim())};
}

}  // namespace

void describe_layout(description& d) noexcept {
  if (d.has_dtype) d.itemsize = d.view.dtype().itemsize();
  const std::int64_t step = d.byte_strides ? d.itemsize : 1;
  d.layout = facts_of(d.view.shape().data(), d.view.strides(), d.view.ndim(), step);
  if (!d.layout.nested) d.overlapping = overlaps(d);
}

description describe(const tensor_view& view) noexcept {
  description d;
  d.view = view;
  describe_layout(d);
  return d;
}

void find_facts(description& d, const requirements& wanted) noexcept {
  const DLDeviceType from = d.view.device().type;
  const bool device_memory = (d.has_device && (needs_cuda(from) || from == kDLCUDAHost)) ||
                             (wanted.device && wanted.device->type != kDLCPU);
  if (device_memory) d.cuda_driver = cuda_backend() != nullptr && cuda_backend()->available();
}

tensor_view shared_view(const description& s, const decision& d, extent* room) noexcept {
  const std::span<const extent> shape = result_shape(s, d, room);
  // Null is row-major: whoever wraps the view need not look again.
  const bool dense = shape.data() == room || s.layout.c_contiguous;
  const extent* strides = dense ? nullptr : s.view.strides();
  if (memory_kind_of(s.view.device().type) != memory_kind::handle) {
    return tensor_view(s.view.data(), shape.data(), strides, s.view.ndim(), d.dtype, d.device,
                       d.read_only);
  }
  const DLTensor handle{s.view.data(),
                        d.device,
                        s.view.ndim(),
                        d.dtype,
                        const_cast<extent*>(shape.data()),
                        const_cast<extent*>(strides),
                        s.view.byte_offset()};
  return tensor_view(handle, d.read_only);
}

fresh_copy carry_out_copy(const description& s, const decision& d, extent* room) {
  const device_backend& backend = backend_for(s, d);
  backend_memory memory = backend.allocate(d.nbytes, d.alignment, d.device);
  const std::span<const extent> shape = result_shape(s, d, room);
  // `bits` copies the elements as what they are (lazy bits and byte order need to know) and only the
  // label of the result differs; packed elements move as the bytes that hold them.
  const bool packed = s.view.dtype().is_packed();
  const extent packed_bytes = d.nbytes;
  const extent one = 1;
  const dtype from_type = packed ? uint8 : s.view.dtype();
  const dtype to_type = packed || d.keeps_bits ? from_type : d.dtype;

  const byte_strides_of from_strides(s);
  std::vector<extent> to_strides(shape.size());
  row_major_strides(shape, to_strides.data(), to_type.itemsize());
  const strided_memory from{s.view.data(), packed ? &one : from_strides.get(), from_type};
  const strided_memory to{memory.data, packed ? &one : to_strides.data(), to_type};
  const element_change change{.swap_bytes = s.state.contains(reason_code::byte_order),
                              .conjugate = s.state.contains(reason_code::conj),
                              .negate = s.state.contains(reason_code::neg)};
  if (s.layout.size != 0) {
    if (packed) backend.copy(&packed_bytes, 1, from, to, change);
    else backend.copy(shape.data(), s.view.ndim(), from, to, change);
  }
  active_counters().copies.fetch_add(1, std::memory_order_relaxed);
  active_counters().copied_bytes.fetch_add(d.nbytes, std::memory_order_relaxed);
  return {tensor_view(memory.data, shape.data(), nullptr, s.view.ndim(), d.dtype, d.device,
                      d.read_only),
          std::move(memory.keep)};
}

answer share_memory(const description& a, const description& b) {
  if (!may_share(a.view.device(), b.view.device())) return answer::no;
  const byte_strides_of a_strides(a), b_strides(b);
  const auto layout_of = [](const description& d, const byte_strides_of& strides) {
    return address_layout{reinterpret_cast<std::uintptr_t>(d.view.data()) + d.view.byte_offset(),
                          d.view.shape(), strides.get(), d.itemsize};
  };
  return share_memory(layout_of(a, a_strides), layout_of(b, b_strides));
}

managed_tensor exchange(managed_tensor t, const requirements& wanted, const capabilities& target) {
  if (!t) return t;
  description source = describe(t.view());
  source.is_copied = t.is_copied();
  source.padded = (t.flags() & DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED) != 0;
  find_facts(source, wanted);
  const decision decided = negotiate(source, wanted, target);
  if (decided.action == action::refuse) {
    throw exchange_error(refusal_text(decided, source, wanted, target),
                         explain_all(decided.blockers, source, wanted, target));
  }
  std::vector<extent> room(static_cast<std::size_t>(source.view.ndim()));
  if (decided.copies_here) {
    fresh_copy made = carry_out_copy(source, decided, room.data());
    return managed_tensor::wrap(made.view, std::move(made.keep), DLPACK_FLAG_BITMASK_IS_COPIED);
  }
  const tensor_view view = shared_view(source, decided, room.data());
  const bool as_it_is = view.dtype() == source.view.dtype() &&
                        view.device() == source.view.device() &&
                        view.read_only() == source.view.read_only();
  if (as_it_is) return t;
  // Whether the result is read-only was decided: `view` says it.
  const std::uint64_t flags = t.flags() & ~std::uint64_t{DLPACK_FLAG_BITMASK_READ_ONLY};
  const std::uint32_t origin = t.origin();
  const stream_handle stream = t.stream();
  managed_tensor shown =
      managed_tensor::wrap(view, owner::of_managed(std::move(t).release()), flags);
  shown.set_origin(origin);
  shown.set_stream(stream);
  return shown;
}

}  // namespace dlpack_bridge
