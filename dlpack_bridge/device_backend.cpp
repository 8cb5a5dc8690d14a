#include <dlpack_bridge/device_backend.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace dlpack_bridge {
namespace {

backend_memory allocate_host(std::int64_t nbytes, std::int64_t alignment, device) {
  const auto unit = static_cast<std::size_t>(std::max<std::int64_t>(alignment, 64));
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(nbytes, 1));
  void* data = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (data == nullptr) throw std::bad_alloc();
  return {data, owner(data, [](void* memory) noexcept { std::free(memory); })};
}

void copy_host(const extent* shape, std::int32_t ndim, const strided_memory& from,
               const strided_memory& to, element_change change) {
  copy(shape, ndim, from, to, change);
}

constexpr device_backend host{[]() noexcept { return true; }, allocate_host, copy_host};
const device_backend* cuda = nullptr;

}  // namespace

const device_backend& host_backend() noexcept { return host; }
const device_backend* cuda_backend() noexcept { return cuda; }
void use_cuda_backend(const device_backend& backend) noexcept { cuda = &backend; }

}  // namespace dlpack_bridge
