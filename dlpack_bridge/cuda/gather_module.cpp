#include <dlpack_bridge/cuda/gather_module.hpp>

#include <atomic>
#include <mutex>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/gather_image.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// The image does not serve this chip or this driver, and will not.
bool is_unsuitable(CUresult result) noexcept {
  switch (result) {
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_SOURCE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_NOT_FOUND: return true;
    default: return false;
  }
}

enum class load_state { none, loaded, unsuitable };

struct loaded_image {
  std::mutex mutex;
  std::atomic<load_state> state{load_state::none};
  CUlibrary library = nullptr;
  CUkernel gather = nullptr, move = nullptr;
};

struct loaded_kernels {
  std::mutex mutex;
  std::atomic<load_state> state{load_state::none};
  gather_kernels kernels;
};

load_state state_of_call(CUresult result, const char* call, int device) {
  if (result == CUDA_SUCCESS) return load_state::loaded;
  if (!is_unsuitable(result)) throw_driver_error(result, call, {device});
  return load_state::unsuitable;
}

// A driver older than the compiler may refuse the image here, or only when a kernel is looked for.
load_state load(const driver_api& api, loaded_image& into) {
  load_state state = load_state::loaded;
  if (into.library == nullptr) {
    state = state_of_call(api.cuLibraryLoadData(&into.library, gather_image(), nullptr, nullptr, 0U,
                                                nullptr, nullptr, 0U),
                          api.cuLibraryLoadData.name, -1);
  }
  const auto find = [&](CUkernel& kernel, const char* name) {
    if (state != load_state::loaded) return;
    state = state_of_call(api.cuLibraryGetKernel(&kernel, into.library, name),
                          api.cuLibraryGetKernel.name, -1);
  };
  find(into.gather, gather_kernel);
  find(into.move, gather_move_kernel);
  return state;
}

// Once in a process, for all its devices. Never unloaded: copies may run while statics die.
loaded_image& image(const driver_api& api) {
  static loaded_image* const loaded = new loaded_image;
  if (loaded->state.load(std::memory_order_acquire) != load_state::none) return *loaded;
  const std::lock_guard lock(loaded->mutex);
  if (loaded->state.load(std::memory_order_relaxed) != load_state::none) return *loaded;
  const bool has_image = gather_image() != nullptr;
  loaded->state.store(has_image ? load(api, *loaded) : load_state::unsuitable,
                      std::memory_order_release);
  return *loaded;
}

/// The context is current.
load_state get_functions(const driver_api& api, const loaded_image& from, int device,
                         gather_kernels& kernels) {
  gather_kernels found;
  load_state state = state_of_call(api.cuKernelGetFunction(&found.gather, from.gather),
                                   api.cuKernelGetFunction.name, device);
  if (state == load_state::loaded) {
    state = state_of_call(api.cuKernelGetFunction(&found.move, from.move),
                          api.cuKernelGetFunction.name, device);
  }
  if (state == load_state::loaded) kernels = found;
  return state;
}

loaded_kernels& kernels_of_device(const driver_api& api, int device) {
  static loaded_kernels* const all = new loaded_kernels[static_cast<std::size_t>(api.device_count)];
  return all[device];
}

}  // namespace

gather_kernels kernels_for(const driver_api& api, const placed_stream& stream) {
  const bool primary = stream.context == known_context(api, stream.device);
  loaded_kernels& loaded = kernels_of_device(api, stream.device);
  if (primary && loaded.state.load(std::memory_order_acquire) != load_state::none) {
    return loaded.kernels;
  }
  const context_guard current(api, stream.context);
  const std::lock_guard lock(loaded.mutex);
  const loaded_image& from = image(api);
  gather_kernels kernels;
  load_state state = from.state.load(std::memory_order_acquire);
  if (state == load_state::loaded) state = get_functions(api, from, stream.device, kernels);
  if (primary && loaded.state.load(std::memory_order_relaxed) == load_state::none) {
    loaded.kernels = kernels;
    loaded.state.store(state, std::memory_order_release);
  }
  return kernels;
}

void launch_gather(const driver_api& api, const gather_kernels& kernels,
                   const placed_stream& stream, planned_copy copy) {
  fit_units(copy);
  const context_guard current(api, stream.context);
  for_each_launch(copy, [&](gather_launch launch) {
    void* parameters[] = {&launch.arguments};
    check({stream.device, stream.handle}, api.cuLaunchKernel,
          launch.moves ? kernels.move : kernels.gather, launch.blocks, 1U, 1U,
          static_cast<unsigned>(gather_threads), 1U, 1U, launch.shared_bytes, stream.handle,
          parameters, nullptr);
  });
}

}  // namespace dlpack_bridge::cuda
