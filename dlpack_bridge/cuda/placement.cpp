#include <dlpack_bridge/cuda/placement.hpp>

#include <atomic>

#include <dlpack_bridge/cuda/context.hpp>

namespace dlpack_bridge::cuda {

CUstream native(stream_handle stream) noexcept {
  return reinterpret_cast<CUstream>(static_cast<std::intptr_t>(stream.protocol()));
}

bool is_default_stream(stream_handle stream) noexcept {
  return stream.is_legacy() || stream.per_thread();
}

std::uint64_t this_thread_number() noexcept {
  static std::atomic<std::uint64_t> given{0};
  thread_local const std::uint64_t own = given.fetch_add(1, std::memory_order_relaxed) + 1;
  return own;
}

placed_stream place(const driver_api& api, int device, stream_handle stream) {
  const bool is_default = is_default_stream(stream);
  return place_again(api, device, stream, is_default ? context_here(api, device) : nullptr);
}

placed_stream place_again(const driver_api& api, int device, stream_handle stream, CUcontext home) {
  const CUstream handle = native(stream);
  const CUcontext context = home != nullptr ? home : active_context(api, device);
  if (is_default_stream(stream)) return {handle, context, device};
  const context_guard current(api, context);
  CUcontext own = nullptr;
  check({device, handle}, api.cuStreamGetCtx, handle, &own);
  if (own == context) return {handle, context, device};
  return {handle, own, device_of(api, own)};
}

placed_stream awake(const driver_api& api, placed_stream stream) {
  if (stream.context == nullptr) stream.context = primary_context(api, stream.device);
  return stream;
}

stream_state state_of(const driver_api& api, const placed_stream& stream, stream_handle handle) {
  stream_state state{.handle = handle, .device_id = stream.device, .has_device = true};
  if (stream.context == nullptr) return state;
  const context_guard current(api, stream.context);
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult asked = api.cuStreamIsCapturing(stream.handle, &status);
  const call_site where{stream.device, stream.handle};
  if (asked == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) {
    // The legacy stream says so while a blocking stream of its context captures; this question is
    // the one call on it that leaves that capture alone.
    state.capture = capture_kind::implicit;
  } else if (asked != CUDA_SUCCESS) {
    throw_driver_error(asked, api.cuStreamIsCapturing.name, where);
  } else if (status != CU_STREAM_CAPTURE_STATUS_NONE) {
    state.capture = capture_kind::active;
    cuuint64_t id = 0;
    check(where, api.cuStreamGetCaptureInfo, stream.handle, &status, &id);
    state.capture_id = id;
  }
  return state;
}

}  // namespace dlpack_bridge::cuda
