#include <dlpack_bridge/adapters/torch_stream.hpp>

#include <cstdint>
#include <exception>

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

// Of libtorch_cuda, and null without it. Only referenced where torch is older than
// c10::Stream::native_handle.
extern "C" [[gnu::weak]] std::int32_t aoti_torch_get_current_cuda_stream(std::int32_t device_index,
                                                                         void** stream);

namespace dlpack_bridge::torch_adapter {
namespace {

// torch built for ROCm calls its devices CUDA.
#ifdef USE_ROCM
constexpr DLDeviceType gpu_type = kDLROCM;
#else
constexpr DLDeviceType gpu_type = kDLCUDA;
#endif

// The driver's handle of the current stream; empty when torch does not say.
template <class Stream>
std::optional<void*> native_handle(const Stream& current) {
  if constexpr (requires { current.native_handle(); }) {
    return current.native_handle();
  } else {
    void* handle = nullptr;
    const bool told = aoti_torch_get_current_cuda_stream != nullptr &&
                      aoti_torch_get_current_cuda_stream(current.device_index(), &handle) == 0;
    return told ? std::optional(handle) : std::nullopt;
  }
}

// A stream that torch did not make is named by its handle, the default stream by 0
// (c10/cuda/CUDAStream.cpp).
c10::Stream torch_stream(c10::Device where, stream_handle stream) {
  if (stream.is_legacy()) return c10::Stream(c10::Stream::DEFAULT, where);
  return c10::Stream(c10::Stream::UNSAFE, where, stream.protocol());
}

// What is dropped now goes back to torch's allocator now: nobody else holds the memory, and torch
// allocated it. Of memory that somebody else did, the allocator takes no note, and says nothing
// (c10/cuda/CUDACachingAllocator.cpp, recordStream).
bool is_given_back(const at::Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  const c10::Allocator* allocator = c10::GetAllocator(tensor.device().type());
  return tensor.use_count() == 1 && storage.use_count() == 1 &&
         storage.data_ptr().get_deleter() == allocator->raw_deleter();
}

}  // namespace

std::optional<device> device_of(c10::Device where) {
  if (where.is_cpu()) return device(kDLCPU);
  if (where.is_cuda()) return device(gpu_type, where.index());
  return std::nullopt;
}

c10::Device torch_device(device where) {
  if (where.type == kDLCPU) return c10::Device(c10::kCPU);
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(where.id));
}

bool has_cuda() {
  if (gpu_type != kDLCUDA || !c10::impl::hasDeviceGuardImpl(c10::kCUDA)) return false;
  return c10::impl::VirtualGuardImpl(c10::kCUDA).deviceCount() > 0;
}

stream_handle current_stream(c10::Device where) {
  const c10::impl::VirtualGuardImpl guard(where.type());
  const std::optional<void*> handle = native_handle(guard.getStream(where));
  return handle ? stream_handle::from_native(*handle) : stream_handle();
}

// What Tensor.record_stream does, without the dispatcher, in which a mode of the releasing thread
// would take part.
bool declare_use(void* context, device, stream_handle stream) noexcept {
  if (stream.per_thread()) return false;
  const at::Tensor& tensor = *static_cast<const at::Tensor*>(context);
  try {
    if (!is_given_back(tensor)) return false;
    const c10::Device where = tensor.device();
    const c10::impl::VirtualGuardImpl guard(where.type());
    guard.recordDataPtrOnStream(tensor.storage().data_ptr(), torch_stream(where, stream));
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace dlpack_bridge::torch_adapter
