#include <dlpack_bridge/negotiation.hpp>

#include <algorithm>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/negotiation_rules.hpp>
#include <dlpack_bridge/negotiation_streams.hpp>

// An exchange shares the processor's cache of instructions with the frameworks on both sides: what it takes
// there is a part of what it costs. What most exchanges go through stands in one piece, so what is rare is
// marked as unlikely, and a function of its own where it is more than a line.

namespace dlpack_bridge {
namespace {

using why = reason_code;

// What a source may report that no copy can mend ...
constexpr reason_set blocking_states(why::sparse, why::meta, why::fake, why::quantized,
                                     why::subclass, why::lanes, why::version, why::capsule,
                                     why::malformed, why::nested, why::functional, why::stream,
                                     why::capture, why::producer);
// ... and what a copy mends.
constexpr reason_set copying_states(why::byte_order, why::conj, why::neg);

bool aligned(const void* data, std::int64_t alignment) noexcept {
  return (reinterpret_cast<std::uintptr_t>(data) & static_cast<std::uintptr_t>(alignment - 1)) == 0;
}

// True when the elements can stay where they are and count as living on `wanted`.
bool lives_on(device from, device wanted) noexcept {
  if (from == wanted) return true;
  if (wanted.type == kDLCPU) return cpu_reads(from.type);
  return wanted.type == kDLCUDA && memory_kind_of(from.type) == memory_kind::managed;
}

[[gnu::noinline]] bool has_wanted_form(const description& s, const requirements& r,
                                       const capabilities& t) noexcept {
  if (r.keeps_form()) return true;
  const bool native = s.has_dtype && !s.state.contains(why::byte_order);
  if (r.bits && !(native && s.view.dtype() == bits_of(s.view.dtype()))) return false;
  if (r.dtype && !(native && s.view.dtype() == *r.dtype)) return false;
  if (r.device) {
    if (!s.has_device) return false;
    device as;
    if (!is_shown(s.view.device(), t.devices, as) || as != *r.device) return false;
  }
  const bool dense = s.has_layout ? s.layout.c_contiguous && !s.byte_strides : s.says_contiguous;
  if (r.c_order && !dense) return false;
  if (r.alignment != 1) {
    const bool no_elements = s.has_layout && s.layout.empty;
    const bool has_address = s.has_layout || s.view.data() != nullptr;
    if (!no_elements && !(has_address && aligned(s.view.data(), r.alignment))) return false;
  }
  return true;
}

bool is_identity(const description& s, const requirements& r, const capabilities& t) noexcept {
  if (!s.same_framework || r.copy == copy_policy::always) [[likely]]
    return false;
  return has_wanted_form(s, r, t);
}

// The elements as the unsigned integers of their width.
[[gnu::noinline]] void judge_bits(decision& d, const description& s,
                                  const capabilities& t) noexcept {
  const dlpack_bridge::dtype from = s.view.dtype();
  const std::optional<dlpack_bridge::dtype> bits = bits_of(from);
  d.dtype = bits.value_or(from);
  if (!bits || !t.dtypes.contains(id_of(d.dtype))) d.blockers.add(why::dtype);
  if (!from.is_packed() || !s.has_layout) return;
  // Bytes can only be counted along a dense last axis.
  if (!fills_bytes(s.view) || !s.layout.c_contiguous) d.blockers.add(why::layout);
}

// Another element type than the source's.
[[gnu::noinline]] void judge_conversion(decision& d, const description& s, dlpack_bridge::dtype to,
                                        const capabilities& t) noexcept {
  d.dtype = to;
  if (!t.dtypes.contains(id_of(to))) d.blockers.add(why::dtype);
  if (can_copy(s.view.dtype(), to)) d.reasons.add(why::dtype);
  else d.blockers.add(why::dtype);
}

void judge_dtype(decision& d, const description& s, const requirements& r,
                 const capabilities& t) noexcept {
  if (!s.has_dtype) [[unlikely]] {
    d.blockers.add(why::dtype);
    return;
  }
  const dlpack_bridge::dtype from = s.view.dtype();
  const dtype_id id = id_of(from);
  if (id == dtype_id::unknown) [[unlikely]] {
    d.blockers.add(from.lanes > 1 ? why::lanes : why::dtype);
    return;
  }
  if (s.padded && from.is_packed()) [[unlikely]]
    d.blockers.add(why::dtype);
  if (r.bits) [[unlikely]]
    judge_bits(d, s, t);
  else if (r.dtype && *r.dtype != from) [[unlikely]] judge_conversion(d, s, *r.dtype, t);
  else if (!t.dtypes.contains(id)) [[unlikely]] d.blockers.add(why::dtype);
}

// Under another label than the source's, or in other memory.
[[gnu::noinline]] void judge_move(decision& d, dlpack_bridge::device from, const requirements& r,
                                  const capabilities& t) noexcept {
  bool moves = false;
  if (r.device) {
    d.device = *r.device;
    moves = !lives_on(from, *r.device);
    if (!t.devices.contains(r.device->type)) d.blockers.add(why::device);
  } else if (!is_shown(from, t.devices, d.device)) {
    d.device = dlpack_bridge::device();
    moves = true;
    if (!t.devices.contains(kDLCPU)) d.blockers.add(why::device);
  }
  if (moves) d.reasons.add(why::device);
}

void judge_device(decision& d, const description& s, const requirements& r,
                  const capabilities& t) noexcept {
  if (!s.has_device) [[unlikely]] {
    d.blockers.add(why::device);
    return;
  }
  const dlpack_bridge::device from = s.view.device();
  if (r.device || !t.devices.contains(from.type)) [[unlikely]]
    judge_move(d, from, r, t);
  // Without a driver nobody orders CUDA memory: it stays with who carries its order, under its label.
  const bool absent =
      needs_cuda(from.type) && !s.driver.answers() && !(t.carries_order && d.device == from);
  if (absent || s.driver_fails) [[unlikely]]
    d.blockers.add(why::driver);
}

// The hub copies within the host, and with a driver between host and CUDA memory. Without one a copy
// of pinned memory is ordinary memory, unless pinned memory was asked for.
[[gnu::noinline]] void judge_copying(decision& d, const description& s,
                                     const requirements& r) noexcept {
  if (!s.has_device) return;
  if (!r.device && !s.driver.answers() && is_host_memory(d.device.type)) {
    d.device = dlpack_bridge::device();
  }
  const DLDeviceType from = s.view.device().type, to = d.device.type;
  if (!hub_copies(from) || !hub_copies(to)) {
    d.blockers.add(why::device);
  } else if ((needs_cuda(from) || needs_cuda(to) || to == kDLCUDAHost) && !s.driver.answers()) {
    d.blockers.add(why::driver);
  }
}

// Rows that are not dense.
[[gnu::noinline]] void judge_strides(decision& d, const description& s, const requirements& r,
                                     const capabilities& t) noexcept {
  const bool reversed = s.layout.negative_axis >= 0;
  if (reversed && !t.negative_strides) d.reasons.add(why::negative_stride);
  if (r.c_order) d.reasons.add(why::order);
  if (!t.any_strides && !reversed) d.reasons.add(why::layout);
}

void judge_layout(decision& d, const description& s, const requirements& r,
                  const capabilities& t) noexcept {
  if (!s.has_layout) [[unlikely]]
    return;
  if (s.view.ndim() > t.max_ndim) [[unlikely]]
    d.blockers.add(why::layout);
  if (s.layout.empty) [[unlikely]]
    return;
  if (s.byte_strides) [[unlikely]]
    d.reasons.add(why::layout);
  if (!s.layout.c_contiguous) [[unlikely]]
    judge_strides(d, s, r, t);
  if (!aligned(s.view.data(), needed_alignment(s, r, t)) &&
      memory_kind_of(s.view.device().type) != memory_kind::handle) [[unlikely]] {
    d.reasons.add(why::alignment);
  }
}

// Memory that must not be written to, or where two elements are one.
[[gnu::noinline]] void judge_writing(decision& d, const requirements& r,
                                     const capabilities& t) noexcept {
  if (t.read_only || t.immutable) {
    d.read_only = true;
  } else if (r.readonly == readonly_policy::copy) {
    d.reasons.add(why::readonly);
  } else if (r.readonly == readonly_policy::error && d.reasons.empty()) {
    d.blockers.add(why::readonly);
  }
}

std::int64_t result_bytes(const decision& d, const description& s) noexcept {
  if (!s.has_layout) return 0;
  if (s.view.dtype().is_packed()) return dense_bytes(s.layout.size, s.view.dtype());
  // A conversion may widen a broadcast array beyond all memory: nobody allocates that much.
  std::int64_t bytes;
  const bool overflow = __builtin_mul_overflow(s.layout.size, d.dtype.itemsize(), &bytes);
  return overflow ? INT64_MAX : bytes;
}

// On the device of the source, else on that of the result.
[[gnu::noinline]] bool lacks_named_stream(const description& s, const requirements& r) noexcept {
  const DLDeviceType from = s.has_device ? s.view.device().type : kDLCPU;
  const DLDeviceType where = is_host_memory(from) && r.device ? r.device->type : from;
  return missing_stream(r, where).has_value();
}

bool lacks_stream(const description& s, const requirements& r) noexcept {
  return (r.refused_stream || r.stream.known()) && lacks_named_stream(s, r);
}

// The array itself is the answer: only the stream that it is to be ordered for can be in the way.
[[gnu::noinline]] void judge_identity(decision& d, const description& s, const requirements& r,
                                      const capabilities& t) noexcept {
  d.identity = true;
  d.read_only = s.view.read_only();
  const bool on_device = s.has_device && needs_cuda(s.view.device().type);
  const bool has_streams = s.has_device && !is_host_memory(s.view.device().type);
  if (has_streams && lacks_stream(s, r)) d.blockers.add(why::stream);
  const bool ordered = on_device && r.stream.known() && !r.stream.no_sync();
  if (ordered && s.driver.answers()) judge_streams(d, s, r, t);
}

// All that speaks for a copy, and all that speaks against the exchange.
void judge_array(decision& d, const description& s, const requirements& r,
                 const capabilities& t) noexcept {
  d.blockers = s.state & blocking_states;
  d.reasons = s.state & copying_states;
  if (s.state.contains(why::requires_grad) && !r.detach) [[unlikely]]
    d.blockers.add(why::requires_grad);
  if (lacks_stream(s, r)) [[unlikely]]
    d.blockers.add(why::stream);
  // What could not be read is not judged: its own blocker says why.
  const bool unread = !d.blockers.empty() && !s.has_layout;
  if (s.has_dtype || !unread) [[likely]]
    judge_dtype(d, s, r, t);
  if (s.has_device || !unread) [[likely]]
    judge_device(d, s, r, t);
  judge_layout(d, s, r, t);
  if (r.copy == copy_policy::always) [[unlikely]]
    d.reasons.add(why::copy_requested);
  else if (s.view.read_only() || s.overlapping) [[unlikely]] judge_writing(d, r, t);
  d.copies_here = !d.reasons.empty();
  if (d.copies_here) [[unlikely]]
    judge_copying(d, s, r);
  if (s.is_copied && r.copy != copy_policy::always) [[unlikely]]
    d.reasons.add(why::framework);
  if (s.driver.answers()) [[unlikely]]
    judge_streams(d, s, r, t);  // else there are no streams
}

// A copy is needed and not wanted: what speaks for it is in the way.
void forbid_copy(decision& d, const description& s, const requirements& r,
                 const capabilities& t) noexcept {
  d.only_copy_forbidden = d.blockers.empty();
  d.blockers = d.blockers | d.reasons;
  // Who mends the others meets this one.
  const bool writes = !t.read_only && !t.immutable;
  const bool refused = s.view.read_only() || s.overlapping;
  if (writes && refused && r.readonly == readonly_policy::error) d.blockers.add(why::readonly);
}

// What is left to say of an array that is not simply shared.
[[gnu::noinline]] void decide(decision& d, const description& s, const requirements& r,
                              const capabilities& t) noexcept {
  // Only a copy by the hub can turn a packed array dense, and it cannot repack one.
  if (d.copies_here && s.has_layout && s.view.dtype().is_packed() && !s.layout.c_contiguous) {
    d.blockers.add(why::layout);
  }
  if (r.copy == copy_policy::never && !d.reasons.empty()) forbid_copy(d, s, r, t);
  if (!d.blockers.empty()) {
    d.action = action::refuse;
    d.read_only = d.copies_here = d.after_producer = d.producer_after = d.host_waits = false;
    return;
  }
  d.action = action::copy;
  d.nbytes = result_bytes(d, s);
  d.alignment = std::max({default_alignment, r.alignment, t.alignment});
  d.read_only = t.immutable || (!d.copies_here && d.read_only);
}

}  // namespace

bool fills_bytes(const tensor_view& packed) noexcept {
  const auto shape = packed.shape();
  return !shape.empty() && shape.back() * packed.dtype().element_bits() % 8 == 0;
}

std::optional<std::int64_t> missing_stream(const requirements& r, DLDeviceType where) noexcept {
  const bool rocm = where == kDLROCM;
  if (r.refused_stream) {
    const bool default_there = rocm && *r.refused_stream == 0;
    return default_there ? std::nullopt : r.refused_stream;
  }
  if (!r.stream.known() || r.stream.no_sync()) return std::nullopt;
  if (is_host_memory(where) || needs_cuda(where)) return std::nullopt;
  const std::int64_t number = r.stream.protocol();
  if (rocm && stream_handle::from_protocol(where, number)) return std::nullopt;
  return number;
}

// What can be shared at sight is judged alike: that is a shorter way to the same decision.
[[gnu::hot]] decision detail::judge(const description& s, const requirements& r,
                                    const capabilities& t) noexcept {
  decision d;
  d.keeps_bits = r.bits;
  d.dtype = s.view.dtype();
  d.device = s.view.device();
  if (is_identity(s, r, t)) [[unlikely]] {
    judge_identity(d, s, r, t);
    if (!d.blockers.empty()) d.action = action::refuse;
    return d;
  }
  judge_array(d, s, r, t);
  if (d.reasons.empty() && d.blockers.empty()) [[likely]]
    d.read_only |= t.immutable;
  else decide(d, s, r, t);
  return d;
}

}  // namespace dlpack_bridge
