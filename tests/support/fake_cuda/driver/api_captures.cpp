#include "api.hpp"
#include "captures.hpp"

// Capture of streams into graphs.
using namespace fake_cuda;

namespace {

CUresult capture_info(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id,
                      CUgraph* into) {
  if (status != nullptr) *status = CU_STREAM_CAPTURE_STATUS_NONE;
  return call<"cuStreamGetCaptureInfo">(reach::on(handle), [&](frame& f) {
    need(status != nullptr);
    const stream& s = need_stream(f, handle);
    *status = capture_status(s);
    if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
    if (id != nullptr) *id = s.capturing->id;
    if (into != nullptr) *into = reinterpret_cast<CUgraph>(s.capturing);
    return CUDA_SUCCESS;
  });
}

}  // namespace

// When a test has it ignored, it says that nothing captures.
FAKE_CUDA_API cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  if (status != nullptr) *status = CU_STREAM_CAPTURE_STATUS_NONE;
  return call<"cuStreamIsCapturing">(reach::on(handle), [&](frame& f) {
    need(status != nullptr);
    *status = capture_status(need_stream(f, handle));
    return CUDA_SUCCESS;
  });
}

// The dependencies of a stream's next node are kept as a clock, not as nodes: there are none to
// show.
FAKE_CUDA_API cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus* status,
                                        cuuint64_t* id, CUgraph* into,
                                        const CUgraphNode** dependencies,
                                        const CUgraphEdgeData** edges, size_t* count) {
  if (dependencies != nullptr) *dependencies = nullptr;
  if (edges != nullptr) *edges = nullptr;
  if (count != nullptr) *count = 0;
  return capture_info(handle, status, id, into);
}

FAKE_CUDA_API cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus* status,
                                        cuuint64_t* id, CUgraph* into,
                                        const CUgraphNode** dependencies, size_t* count) {
  return cuStreamGetCaptureInfo_v3(handle, status, id, into, dependencies, nullptr, count);
}

#undef cuStreamGetCaptureInfo
FAKE_CUDA_API cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus* status,
                                     cuuint64_t* id) {
  return capture_info(handle, status, id, nullptr);
}

FAKE_CUDA_API cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
  return call<"cuStreamBeginCapture">(reach::on(handle), [&](frame& f) {
    begin_capture(f, need_stream(f, handle), mode);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuStreamEndCapture(CUstream handle, CUgraph* out) {
  if (out != nullptr) *out = nullptr;
  return call<"cuStreamEndCapture">(reach::on(handle), [&](frame& f) {
    need(out != nullptr);
    *out = end_capture(f, need_stream(f, handle));
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuGraphDestroy(CUgraph handle) {
  return call<"cuGraphDestroy">(reach::driver(), [&](frame& f) {
    graph* g = f.w.graphs.find(handle);
    need(g != nullptr);
    f.w.graphs.destroy(*g);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  return call<"cuThreadExchangeStreamCaptureMode">(reach::driver(), [&](frame& f) {
    need(mode != nullptr && *mode >= CU_STREAM_CAPTURE_MODE_GLOBAL &&
         *mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    std::swap(f.me.mode, *mode);
    return CUDA_SUCCESS;
  });
}
