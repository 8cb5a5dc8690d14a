#pragma once

#include <string>

#include <cuda.h>
#include <cudaTypedefs.h>

// The driver as the tests use it: opened at run time, like in the product, but with a table of its
// own. These exist in every driver that the product speaks to:
// clang-format off
#define LAB_DRIVER(X)                     \
  X(cuInit, 2000)                         \
  X(cuDriverGetVersion, 2020)             \
  X(cuDeviceGetCount, 2000)               \
  X(cuDevicePrimaryCtxRetain, 7000)       \
  X(cuCtxPushCurrent, 4000)               \
  X(cuCtxPopCurrent, 4000)                \
  X(cuCtxSynchronize, 2000)               \
  X(cuGetErrorName, 6000)                 \
  X(cuStreamCreate, 2000)                 \
  X(cuStreamDestroy, 4000)                \
  X(cuStreamQuery, 2000)                  \
  X(cuStreamSynchronize, 2000)            \
  X(cuStreamWaitEvent, 3020)              \
  X(cuStreamBeginCapture, 10010)          \
  X(cuStreamEndCapture, 10000)            \
  X(cuStreamIsCapturing, 10000)           \
  X(cuThreadExchangeStreamCaptureMode, 10010) \
  X(cuEventCreate, 2000)                  \
  X(cuEventDestroy, 4000)                 \
  X(cuEventRecord, 2000)                  \
  X(cuEventQuery, 2000)                   \
  X(cuMemAlloc, 3020)                     \
  X(cuMemFree, 3020)                      \
  X(cuMemAllocAsync, 11020)               \
  X(cuMemFreeAsync, 11020)                \
  X(cuMemAllocManaged, 6000)              \
  X(cuMemHostAlloc, 2020)                 \
  X(cuMemFreeHost, 2000)                  \
  X(cuMemcpyAsync, 4000)                  \
  X(cuGraphDestroy, 10000)
// The fake driver has no graphs to run and no modules of ours; older drivers have no context events.
#define LAB_DRIVER_OPTIONAL(X)            \
  X(cuModuleLoadData, 2000)               \
  X(cuModuleGetFunction, 2000)            \
  X(cuLaunchKernel, 4000)                 \
  X(cuGraphInstantiateWithFlags, 11040)   \
  X(cuGraphLaunch, 10000)                 \
  X(cuGraphExecDestroy, 10000)            \
  X(cuCtxRecordEvent, 12050)
// clang-format on

namespace lab {

struct driver_table {
#define LAB_ENTRY(symbol, version) PFN_##symbol##_v##version symbol = nullptr;
  LAB_DRIVER(LAB_ENTRY)
  LAB_DRIVER_OPTIONAL(LAB_ENTRY)
#undef LAB_ENTRY
  /// Of the fake driver: touches memory as a kernel does, and tells how many races it saw.
  CUresult (*fake_work)(int, CUstream, const struct fake_access*, int) = nullptr;
  int (*fake_races)() = nullptr;
  const char* (*fake_race)(int) = nullptr;
  void (*fake_clear_races)() = nullptr;
};

/// As the fake driver declares it.
struct fake_access {
  const void* data;
  std::size_t bytes;
  int writes;
};

/// Opens the driver; empty, or why there is none to test on.
std::string open_driver(driver_table& table);

}  // namespace lab
