#include <dlpack_bridge/cuda/backend.hpp>

#include <new>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/copy.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

namespace dlpack_bridge::cuda {
namespace {

driver_status tell(device where, stream_state& stream) noexcept {
  const driver_api* api = driver();
  if (api == nullptr) return status();
  try {
    check_device(*api, where.id);
    if (stream.handle.known() && !stream.handle.no_sync()) stream = look_at(where, stream.handle);
    return {};
  } catch (const cuda_error& e) {
    return status_of(*api, static_cast<CUresult>(e.status()));
  } catch (const std::bad_alloc&) {
    return status_of(*api, CUDA_ERROR_OUT_OF_MEMORY);
  }
}

constexpr device_backend functions{
    .status = status,
    .look_at = tell,
    .locate = locate,
    .enter = enter_device,
    .own_stream = [](device where) { return own_stream(where).handle(); },
    .order = order_after,
    .wait = wait_for,
    .allocate = allocate,
    .copy = copy,
    .lend = lend,
    .record_use = record_use,
    .collect = collect,
    .set_release_runner = set_release_runner,
};

}  // namespace

const device_backend& backend() noexcept { return functions; }

void use() noexcept { use_cuda_backend(functions); }

}  // namespace dlpack_bridge::cuda
