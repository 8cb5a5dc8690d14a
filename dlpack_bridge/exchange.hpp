#pragma once

#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/negotiation.hpp>

namespace dlpack_bridge {

/// Describes a view for `negotiate`: layout facts and overlap. No allocation, no driver call.
description describe(const tensor_view& view) noexcept;
/// Describes what C++ owns: its flags and its stream as well.
description describe(const managed_tensor& t) noexcept;
/// A description borrows: one of a temporary would be left with nothing.
description describe(const managed_tensor&&) = delete;

/// Whether two indices of a description reach a common byte, or nobody can tell: for layouts that are
/// not nested.
bool overlaps_itself(const description& d) noexcept;

/// Fills `layout` and `overlapping` of a description whose `view` and `itemsize` are set and valid.
inline void describe_strides(description& d) noexcept {
  const std::int64_t step = d.byte_strides ? d.itemsize : 1;
  d.layout = facts_of(d.view.shape().data(), d.view.strides(), d.view.ndim(), step);
  if (!d.layout.nested) [[unlikely]]
    d.overlapping = overlaps_itself(d);
}

/// The same where the size of an element follows from `view` when the element type is known.
inline void describe_layout(description& d) noexcept {
  if (d.has_dtype) d.itemsize = d.view.dtype().itemsize();
  describe_strides(d);
}

/// Fills in what a valid struct says, with the flags of DLPack that belong to it.
inline void describe_struct(description& d, const DLTensor& tensor, std::uint64_t flags) noexcept {
  d.view = tensor_view(tensor, (flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0);
  d.is_copied = (flags & DLPACK_FLAG_BITMASK_IS_COPIED) != 0;
  d.padded = (flags & DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED) != 0;
  describe_layout(d);
}

/// Whether a decision about this array needs facts of the driver: it may be, or go where, memory of a
/// device is.
inline bool involves_driver(const description& d, const requirements& wanted) noexcept {
  if (!d.has_device) return false;
  const DLDeviceType from = d.view.device().type;
  return needs_cuda(from) || from == kDLCUDAHost ||
         (wanted.device && wanted.device->type != kDLCPU);
}

/// FACTS: asks the driver what a decision about this array needs, and only where it is involved. The
/// streams that are known by now stand in `d.streams`; the one the caller named comes before a target's
/// own. Does not synchronise.
void find_facts(description& d, const requirements& wanted) noexcept;

/// The status of the CUDA driver; `no_driver` in a build without a backend.
driver_status cuda_status() noexcept;

/// What the driver of the road adds to a decision: who is told of the use, and how a copy is made.
struct hand_over_options {
  owner user_object;      ///< keeps the stream of the result's user alive
  use_listener listener;  ///< a producer that protects its memory itself
  /// Makes the host memory of a copy that no device takes part in, as `device_backend::allocate` does;
  /// null: the host backend.
  backend_memory (*allocate)(std::int64_t nbytes, std::int64_t alignment) = nullptr;
  /// One thread at a time hands over with this, as with a GIL: a copy is counted the cheaper way.
  bool in_turn = false;
};

/// An array on its way to whoever asked for it.
struct handed_over {
  tensor_view view;         ///< shape borrowed from the source or from `room`
  owner keep;               ///< keeps the memory alive, and lets it go after the last use
  std::uint64_t flags = 0;  ///< IS_COPIED, as DLPack has it
  stream_handle stream;     ///< what device memory is ordered on
};

/// The view under which shared memory is handed on: dtype (`bits`), device label and READ_ONLY as
/// decided; shape and strides borrowed from the source. `room` has space for `ndim` extents and is
/// used when packed elements become bytes, which changes the last extent.
tensor_view shared_view(const description& source, const decision& decided, extent* room) noexcept;

/// ORDER alone, for an array that stays what it is: makes the consumer wait for the producer as
/// decided, or the host. Returns the stream that the result is ordered on.
/// @throws device_error
stream_handle carry_out_order(const description& source, const decision& decided);

/// ORDER, COPY and RELEASE for a decision that is neither a refusal nor an identity: makes streams wait
/// as decided, copies, and lends device memory so that it goes back only after the uses the hub knows
/// of. `keep` keeps the source alive. It moves into a result that shares; of a copy it is left to the
/// caller to drop, and is then let go when the copy has read it (also after a throw). Needs no GIL.
/// `room` has space for `ndim` extents. Synchronises where `decided.host_waits`. Counts into
/// `active_counters`.
/// @throws std::bad_alloc, device_error
handed_over hand_over(const description& source, const decision& decided, owner& keep,
                      hand_over_options&& options, extent* room);

/// Uninitialised memory of its own on a device: host memory as `make_tensor` of managed_tensor.hpp
/// gives it, pinned or CUDA memory from the CUDA backend. CUDA memory is for work on `stream`
/// (unknown: the hub's own), which the tensor names as its stream; it goes back in that stream's order,
/// after every use the hub knows of. Does not synchronise. `alignment` is a power of two.
/// @throws std::bad_alloc, std::invalid_argument (an impossible shape or alignment, a device that the
/// hub has no memory on), device_error (no driver, out of memory)
managed_tensor make_tensor(const extent_list& shape, dtype type, device where,
                           stream_handle stream = {}, std::int64_t alignment = default_alignment);

/// Whether two described arrays have a byte in common; see `layout.hpp`. Arrays on different devices
/// have none; managed memory is on every CUDA device and on the host.
answer share_memory(const description& a, const description& b);

/// Drives the whole road for an array that C++ owns: decides, then shares or copies. `t` is gone
/// after a throw.
/// @throws exchange_error with every blocker, `driver` where none answers
/// @throws std::invalid_argument an alignment that is no power of two; `bits` and a dtype together
/// @throws std::bad_alloc; device_error a call to the driver that fails
managed_tensor exchange(managed_tensor t, const requirements& wanted = {},
                        const capabilities& target = capabilities_of(framework::cpp));

// ---- what most exchanges are: host memory that is shared -------------------------------------------

namespace detail {

tensor_view view_of_bytes(const description& source, const decision& decided,
                          extent* room) noexcept;
stream_handle make_wait(const description& source, const decision& decided);
handed_over hand_over_ordered(const description& source, const decision& decided, owner& keep,
                              hand_over_options& options, extent* room);
handed_over hand_over_copy(const description& source, const decision& decided, owner& keep,
                           hand_over_options& options, extent* room);

}  // namespace detail

/// The strides under which memory is handed on. Null is row-major: whoever wraps the view need not look
/// again.
inline const extent* shared_strides(const description& s) noexcept {
  return s.layout.c_contiguous ? nullptr : s.view.strides();
}

inline tensor_view shared_view(const description& s, const decision& d, extent* room) noexcept {
  const dtype from = s.view.dtype();
  if (d.dtype != from && from.is_packed()) return detail::view_of_bytes(s, d, room);
  return s.view.relabelled(shared_strides(s), d.dtype, d.device, d.read_only);
}

inline stream_handle carry_out_order(const description& s, const decision& d) {
  return d.after_producer || d.host_waits ? detail::make_wait(s, d) : d.stream;
}

/// Whether sharing is more than showing the same memory: something waits, or a device borrows it.
inline bool is_ordered(const decision& d) noexcept {
  return needs_cuda(d.device.type) || d.after_producer || d.host_waits;
}

/// `hand_over` of what neither copies nor `is_ordered`.
inline handed_over hand_over_shared(const description& s, const decision& d, owner& keep,
                                    extent* room) noexcept {
  return {.view = shared_view(s, d, room),
          .keep = std::move(keep),
          .flags = s.is_copied ? std::uint64_t{DLPACK_FLAG_BITMASK_IS_COPIED} : 0,
          .stream = d.stream};
}

inline handed_over hand_over(const description& s, const decision& d, owner& keep,
                             hand_over_options&& options, extent* room) {
  if (d.copies_here) return detail::hand_over_copy(s, d, keep, options, room);
  if (is_ordered(d)) return detail::hand_over_ordered(s, d, keep, options, room);
  return hand_over_shared(s, d, keep, room);
}

}  // namespace dlpack_bridge
