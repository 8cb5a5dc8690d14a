#pragma once

#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/negotiation.hpp>

namespace dlpack_bridge {

/// Describes a view for `negotiate`: layout facts and overlap. No allocation, no driver call.
description describe(const tensor_view& view) noexcept;

/// Fills `layout` and `overlapping` of a description whose `view` is set and valid.
void describe_layout(description& d) noexcept;

/// FACTS: asks the driver what a decision about this array needs, and only where device memory is
/// involved.
void find_facts(description& d, const requirements& wanted) noexcept;

/// Fresh memory with the elements of a source in it, C-contiguous.
struct fresh_copy {
  tensor_view view;  ///< shape borrowed from the source or from `room`
  owner keep;
};

/// Carries out a copy that was decided: allocates through the backend of the result's device and
/// copies. Needs no GIL. Counts into `active_counters`.
/// @throws std::bad_alloc
fresh_copy carry_out_copy(const description& source, const decision& decided, extent* room);

/// The view under which shared memory is handed on: dtype (`bits`), device label and READ_ONLY as
/// decided; shape and strides borrowed from the source. `room` has space for `ndim` extents and is
/// used when packed elements become bytes, which changes the last extent.
tensor_view shared_view(const description& source, const decision& decided, extent* room) noexcept;

/// Whether two described arrays have a byte in common; see `layout.hpp`. Arrays on different devices
/// have none; managed memory is on every CUDA device and on the host.
answer share_memory(const description& a, const description& b);

/// Drives the whole road for an array that C++ owns: decides, then shares or copies. `t` is gone
/// after a throw.
/// @throws exchange_error with every blocker
managed_tensor exchange(managed_tensor t, const requirements& wanted = {},
                        const capabilities& target = capabilities_of(framework::cpp));

}  // namespace dlpack_bridge
