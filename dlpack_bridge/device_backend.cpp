#include <dlpack_bridge/device_backend.hpp>

#include <algorithm>
#include <cstdlib>

#include <dlpack_bridge/host_memory.hpp>
#include <dlpack_bridge/managed_tensor.hpp>

namespace dlpack_bridge {
namespace {

backend_memory allocate_host(std::int64_t nbytes, std::int64_t alignment, device, stream_handle) {
  const auto unit = static_cast<std::size_t>(std::max(alignment, default_alignment));
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(nbytes, 1));
  const detail::host_memory memory = detail::allocate_host_memory(0, bytes, unit);
  return {memory.elements, owner(memory.start, [](void* m) noexcept { std::free(m); }), {}};
}

bool copy_host(const copy_job& job) {
  copy(job.shape, job.ndim, job.from, job.to, job.change);
  return false;
}

// Host memory has no streams: nothing to order, and nobody who uses it later than its owner lives.
constexpr device_backend host{
    .status = []() noexcept { return driver_status(); },
    .look_at = [](device, stream_state&) noexcept { return driver_status(); },
    .locate = [](const void*) { return device(); },
    .enter = [](device) { return owner(); },
    .own_stream = [](device) { return stream_handle(); },
    .order = [](device, stream_handle, device, stream_handle) {},
    .wait = [](device, stream_handle) {},
    .allocate = allocate_host,
    .copy = copy_host,
    .lend = [](owner memory, loan) { return memory; },
    .record_use = [](device, const void*, stream_handle, owner) { return false; },
    .collect = [](bool) -> std::int64_t { return 0; },
    .set_release_runner = [](void (*)(owner) noexcept) noexcept {},
};
const device_backend* cuda = nullptr;

}  // namespace

const device_backend& host_backend() noexcept { return host; }
const device_backend* cuda_backend() noexcept { return cuda; }
void use_cuda_backend(const device_backend& backend) noexcept { cuda = &backend; }

}  // namespace dlpack_bridge
