#include <algorithm>
#include <iterator>

#include "api.hpp"
#include "frame.hpp"

// Names and texts of results.
using namespace fake_cuda;

namespace {

struct result_row {
  CUresult code;
  const char* name;
  const char* text;
};

#define FAKE_CUDA_RESULT(name, text) {name, #name, text}
constexpr result_row results[] = {
    FAKE_CUDA_RESULT(CUDA_SUCCESS, "no error"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    FAKE_CUDA_RESULT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    FAKE_CUDA_RESULT(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STUB_LIBRARY, "the library is a stub"),
    FAKE_CUDA_RESULT(CUDA_ERROR_DEVICE_UNAVAILABLE, "the device is busy or unavailable"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image for this device"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error"),
    FAKE_CUDA_RESULT(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "peer access is not supported"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ILLEGAL_STATE, "the operation is illegal in this state"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_READY, "device not ready"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    FAKE_CUDA_RESULT(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out"),
    FAKE_CUDA_RESULT(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"),
    FAKE_CUDA_RESULT(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ASSERT, "device-side assert triggered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "memory is already registered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "memory is not registered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    FAKE_CUDA_RESULT(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
    FAKE_CUDA_RESULT(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "driver and display driver do not match"),
    FAKE_CUDA_RESULT(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "no forward compatibility here"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                     "operation not permitted when stream is capturing"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                     "operation failed due to a previous error during capture"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_MERGE,
                     "operation would result in a merge of separate capture sequences"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in its stream"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                     "dependency created on uncaptured work in another stream"),
    FAKE_CUDA_RESULT(
        CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
        "operation would make the legacy stream depend on a capturing blocking stream"),
    FAKE_CUDA_RESULT(CUDA_ERROR_CAPTURED_EVENT,
                     "operation not permitted on an event last recorded in a capturing stream"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
                     "attempt to terminate a thread-local capture sequence from another thread"),
    FAKE_CUDA_RESULT(CUDA_ERROR_TIMEOUT, "timeout"),
    FAKE_CUDA_RESULT(CUDA_ERROR_EXTERNAL_DEVICE, "an asynchronous error in another device"),
    FAKE_CUDA_RESULT(CUDA_ERROR_UNKNOWN, "unknown error"),
};
#undef FAKE_CUDA_RESULT

CUresult answer(CUresult code, const char** out, const char* result_row::* column) {
  need(out != nullptr);
  const auto row = std::ranges::find(results, code, &result_row::code);
  *out = row == std::end(results) ? nullptr : (*row).*column;
  return *out == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

FAKE_CUDA_API cuGetErrorName(CUresult code, const char** out) {
  return call<"cuGetErrorName">(reach::anything(),
                                [&](frame&) { return answer(code, out, &result_row::name); });
}

FAKE_CUDA_API cuGetErrorString(CUresult code, const char** out) {
  return call<"cuGetErrorString">(reach::anything(),
                                  [&](frame&) { return answer(code, out, &result_row::text); });
}
