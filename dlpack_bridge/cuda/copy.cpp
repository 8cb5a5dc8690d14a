#include <dlpack_bridge/cuda/copy.hpp>

#include <memory>
#include <vector>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/device_copy.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/peer_copy.hpp>
#include <dlpack_bridge/cuda/staged_copy.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// The bytes from the first to the last that a copy touches on one side.
struct touched_span {
  CUdeviceptr begin;
  std::size_t bytes;
};

touched_span span_of(const detail::copy_plan& plan, const std::byte* data,
                     extent detail::copy_axis::* stride, extent itemsize) noexcept {
  extent low = 0, high = itemsize;
  for (int i = 0; i < plan.size; ++i) {
    const extent reach = (plan.axes[i].count - 1) * plan.axes[i].*stride;
    (reach < 0 ? low : high) += reach;
  }
  return {reinterpret_cast<CUdeviceptr>(data + low), static_cast<std::size_t>(high - low)};
}

/// True when the device reaches all of it in host memory, at the addresses that the host has for it.
/// A buffer can be registered in part.
bool is_pinned(const driver_api& api, const touched_span& memory) {
  unsigned type = 0;
  CUdeviceptr seen_by_device = 0, start = 0;
  std::size_t size = 0;
  CUpointer_attribute wanted[] = {
      CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void* values[] = {&type, &seen_by_device, &start, &size};
  check({}, api.cuPointerGetAttributes, 4U, wanted, values, memory.begin);
  return type != 0 && seen_by_device == memory.begin && memory.begin - start + memory.bytes <= size;
}

/// One copy whose device side is known.
struct device_side {
  device where;
  stream_handle stream;
  placed_stream at;
};

device_side device_side_of(const driver_api& api, const copy_job& job) {
  device_side side;
  side.where = is_host_memory(job.to_device.type) ? job.from_device : job.to_device;
  const bool named = job.stream.known() && !job.stream.no_sync();
  side.stream = named ? job.stream : own_stream(side.where).handle();
  side.at = awake(api, place(api, side.where.id, side.stream));
  return side;
}

// The driver never gets pageable memory. That the source may change once the call has returned is
// promised for no system, and where the device reaches such memory by itself it is not so.

bool copy_from(const driver_api& api, const device_side& side, const planned_copy& copy) {
  const detail::copy_plan& plan = copy.plan;
  if (is_pinned(api, span_of(plan, plan.from, &detail::copy_axis::from, copy.from_size()))) {
    if (copy_on_device(api, side.at, copy)) return true;
    // The device may still be writing what the CPU has to read now.
    wait_for(side.where, side.stream);
  }
  copy_from_host(api, side.at, copy);
  return true;
}

bool copy_to(const driver_api& api, const device_side& side, const planned_copy& copy) {
  const detail::copy_plan& plan = copy.plan;
  if (is_pinned(api, span_of(plan, plan.to, &detail::copy_axis::to, copy.to_size()))) {
    if (copy_on_device(api, side.at, copy)) return true;
    wait_for(side.where, side.stream);
  }
  copy_to_host(api, side.at, copy);
  return false;
}

/// What no device can do by itself, in two copies with pageable memory in the middle.
bool copy_through_host(const copy_job& job) {
  const std::span<const extent> shape(job.shape, static_cast<std::size_t>(job.ndim));
  const dtype type = job.to.type;
  const auto bytes = static_cast<std::size_t>(element_count(shape).value_or(0) * type.itemsize());
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
  std::vector<extent> strides(shape.size());
  row_major_strides(shape, strides.data(), type.itemsize());
  const strided_memory middle{memory.get(), strides.data(), type};
  copy_job first = job, second = job;
  first.to = middle;
  first.to_device = device();
  if (job.from_device.id != job.to_device.id) {
    first.stream = own_stream(job.from_device).handle();
    order_after(job.from_device, first.stream, job.to_device, job.stream);
  }
  second.from = middle;
  second.from_device = device();
  second.change = {};
  copy(first);
  return copy(second);
}

}  // namespace

bool copy(const copy_job& job) {
  const bool from_host = is_host_memory(job.from_device.type);
  const bool to_host = is_host_memory(job.to_device.type);
  if (from_host && to_host) {
    dlpack_bridge::copy(job.shape, job.ndim, job.from, job.to, job.change);
    return false;
  }
  const driver_api& api = need_driver();
  const relaxed_capture relaxed(api);
  const planned_copy planned = plan_copy(job.shape, job.ndim, job.from, job.to, job.change);
  if (planned.plan.empty) return false;
  const device_side side = device_side_of(api, job);
  const context_guard current(api, side.at.context);
  if (from_host) return copy_from(api, side, planned);
  if (to_host) return copy_to(api, side, planned);
  const bool two_devices = job.from_device.id != job.to_device.id;
  const bool done =
      two_devices ? copy_between_devices(api, planned, job.from_device, job.to_device, side.stream)
                  : copy_on_device(api, side.at, planned);
  return done || copy_through_host(job);
}

}  // namespace dlpack_bridge::cuda
