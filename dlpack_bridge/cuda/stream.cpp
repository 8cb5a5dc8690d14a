#include <dlpack_bridge/cuda/stream.hpp>

#include <mutex>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/immortal.hpp>

namespace dlpack_bridge::cuda {

stream::stream(device where) : where_(kDLCUDA, where.id) {
  const driver_api& api = need_driver();
  const context_guard current(api, primary_context(api, where.id));
  const relaxed_capture relaxed(api);
  CUstream made = nullptr;
  check({where.id}, api.cuStreamCreateWithPriority, &made,
        static_cast<unsigned>(CU_STREAM_NON_BLOCKING), 0);
  handle_ = made;
}

stream& stream::operator=(stream&& other) noexcept {
  stream taken(std::move(other));
  std::swap(where_, taken.where_);
  std::swap(handle_, taken.handle_);
  return *this;
}

void stream::reset() noexcept {
  auto* const dying = static_cast<CUstream>(std::exchange(handle_, nullptr));
  const driver_api* api = driver();
  if (dying == nullptr || api == nullptr) return;
  try {
    const context_guard current(*api, known_context(*api, where_.id));
    const relaxed_capture relaxed(*api);
    static_cast<void>(api->cuStreamDestroy(dying));
  } catch (const cuda_error&) {  // the context has ended, and its streams with it
  }
}

void stream::synchronize() const { cuda::wait_for(where_, handle()); }

const stream& own_stream(device where) {
  struct own_streams {
    std::mutex mutex;
    stream of_device[most_devices];
  };
  static immortal<own_streams> all;
  check_device(need_driver(), where.id);
  const std::lock_guard lock(all.get().mutex);
  stream& own = all.get().of_device[where.id];
  if (!own) own = stream(where);
  return own;
}

}  // namespace dlpack_bridge::cuda
