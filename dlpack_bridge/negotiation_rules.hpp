#pragma once

#include <algorithm>
#include <cstdint>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/negotiation.hpp>

// What `negotiate` judges by and its words ask again: each question has one answer. Pure.

namespace dlpack_bridge {

/// The multiple that the first element's address must be. The bits of a complex number are one integer,
/// which aligns to more than its parts do: that is all that `bits_of` changes here.
inline std::int64_t needed_alignment(const description& s, const requirements& r,
                                     const capabilities& t) noexcept {
  const dlpack_bridge::dtype from = s.view.dtype();
  const bool one_integer = r.bits && from.bits <= 64;
  const auto element = one_integer ? dlpack_bridge::dtype(kDLUInt, from.bits, from.lanes) : from;
  const std::int64_t natural = s.has_dtype ? alignment_of(element) : 1;
  return std::max(natural, std::max(r.alignment, t.alignment));
}

/// Sets the device under which the target shows memory of `from`: pinned memory is host memory to
/// whoever has no name for it, managed memory is device or host memory. False when it cannot show it.
inline bool is_shown(device from, device_set holds, device& as) noexcept {
  as = from;
  if (holds.contains(from.type)) return true;
  const bool as_cuda = memory_kind_of(from.type) == memory_kind::managed && holds.contains(kDLCUDA);
  as = as_cuda ? device(kDLCUDA, from.id) : device();
  return holds.contains(as.type) && cpu_reads(from.type);
}

/// The device whose streams do the work: where the result lives, else where the source does.
constexpr device device_of_work(device source, device result) noexcept {
  return needs_cuda(result.type) ? result : source;
}

/// Whether the hub copies memory of a kind of device.
constexpr bool hub_copies(DLDeviceType type) noexcept {
  return is_host_memory(type) || needs_cuda(type);
}

/// Whether `device` is a reason that a copy mends: the hub moves the array to where it is wanted.
inline bool is_move(const description& s, const requirements& r, const capabilities& t) noexcept {
  if (!s.has_device || !hub_copies(s.view.device().type)) return false;
  const DLDeviceType to = r.device ? r.device->type : kDLCPU;
  return t.devices.contains(to) && hub_copies(to);
}

/// Whether `dtype` is a reason that a copy mends: the elements are converted into what was asked for.
inline bool is_conversion(const description& s, const requirements& r,
                          const capabilities& t) noexcept {
  if (!s.has_dtype || r.bits || !r.dtype || *r.dtype == s.view.dtype()) return false;
  return t.dtypes.contains(id_of(*r.dtype)) && can_copy(s.view.dtype(), *r.dtype);
}

}  // namespace dlpack_bridge
