#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "driver.hpp"
#include "lab.h"

asm(".pushsection .rodata, \"a\"\n"
    ".balign 16\n"
    "lab_kernels:\n"
    ".incbin \"" LAB_KERNELS
    "\"\n"
    ".popsection\n");
extern "C" const unsigned char lab_kernels[];

namespace {

using namespace lab;

struct device_state {
  CUcontext context = nullptr;
  CUfunction latch = nullptr, fill = nullptr, copy = nullptr;
};

// A latch is a pair of pinned words. A held stream may read them for a while after the latch was
// opened, so the next latch has others.
constexpr int latch_count = 1 << 14;
struct latch_words {
  int flag, timed_out;
};

driver_table driver;
std::vector<device_state> devices;
latch_words* latches = nullptr;
std::atomic<int> next_latch{0};

CUstream stream_of(void* handle) { return static_cast<CUstream>(handle); }
CUdeviceptr address_of(const void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }

class on_device {
 public:
  explicit on_device(int device)
      : result_(device < 0 || device >= lab_device_count()
                    ? CUDA_ERROR_INVALID_DEVICE
                    : driver.cuCtxPushCurrent(devices[static_cast<std::size_t>(device)].context)) {}
  on_device(const on_device&) = delete;
  on_device& operator=(const on_device&) = delete;
  ~on_device() {
    CUcontext popped;
    if (result_ == CUDA_SUCCESS) driver.cuCtxPopCurrent(&popped);
  }
  template <class Call>
  int run(Call call) const {
    return result_ == CUDA_SUCCESS ? call() : result_;
  }

 private:
  CUresult result_;
};

#define LAB_TRY(call)                                              \
  if (const CUresult tried = (call); tried != CUDA_SUCCESS) {      \
    return std::string(#call " failed: ") + lab_error_name(tried); \
  }

std::string load_kernels(device_state& d) {
  if (driver.fake_work != nullptr) return {};
  CUmodule module = nullptr;
  LAB_TRY(driver.cuModuleLoadData(&module, lab_kernels));
  LAB_TRY(driver.cuModuleGetFunction(&d.latch, module, "lab_latch"));
  LAB_TRY(driver.cuModuleGetFunction(&d.fill, module, "lab_fill"));
  LAB_TRY(driver.cuModuleGetFunction(&d.copy, module, "lab_copy"));
  return {};
}

// A kernel that is launched for the first time may be loaded then, which waits for running kernels.
std::string run_each_kernel_once(int device) {
  void* memory = nullptr;
  const auto legacy = CU_STREAM_LEGACY;
  LAB_TRY(static_cast<CUresult>(lab_alloc(device, LAB_DEVICE, 64, legacy, &memory)));
  const int latch = lab_latch_make();
  lab_latch_open(latch);
  LAB_TRY(static_cast<CUresult>(lab_latch_hold(latch, device, legacy, 1)));
  LAB_TRY(static_cast<CUresult>(lab_fill(device, legacy, memory, 8, 1)));
  LAB_TRY(
      static_cast<CUresult>(lab_copy(device, legacy, static_cast<char*>(memory) + 32, memory, 8)));
  LAB_TRY(static_cast<CUresult>(lab_wait(device, legacy, 10)));
  LAB_TRY(static_cast<CUresult>(lab_free(device, LAB_DEVICE, memory, legacy)));
  return {};
}

std::string open() {
  if (std::string why = open_driver(driver); !why.empty()) return why;
  if (driver.fake_work == nullptr &&
      (driver.cuModuleLoadData == nullptr || driver.cuLaunchKernel == nullptr)) {
    return "the driver has no cuModuleLoadData or no cuLaunchKernel";
  }
  int count = 0;
  LAB_TRY(driver.cuDeviceGetCount(&count));
  for (int i = 0; i < count; ++i) {
    device_state& d = devices.emplace_back();
    LAB_TRY(driver.cuDevicePrimaryCtxRetain(&d.context, i));
    const on_device current(i);
    if (std::string why = load_kernels(d); !why.empty()) return why;
    if (i > 0) continue;
    void* memory = nullptr;
    LAB_TRY(driver.cuMemHostAlloc(&memory, latch_count * sizeof(latch_words),
                                  CU_MEMHOSTALLOC_PORTABLE));
    std::memset(memory, 0, latch_count * sizeof(latch_words));
    latches = static_cast<latch_words*>(memory);
  }
  for (int i = 0; i < count; ++i) {
    if (std::string why = run_each_kernel_once(i); !why.empty()) return why;
  }
  return {};
}

int launch(int device, CUfunction device_state::* kernel, void* stream, unsigned blocks,
           unsigned threads, void** arguments) {
  const CUfunction function = devices[static_cast<std::size_t>(device)].*kernel;
  return on_device(device).run([&] {
    return driver.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream_of(stream),
                                 arguments, nullptr);
  });
}

unsigned blocks_for(std::size_t count) {
  const std::size_t blocks = (count + 255) / 256;
  return static_cast<unsigned>(blocks == 0 ? 1 : blocks < 1024 ? blocks : 1024);
}

bool is_known(int device) { return device >= 0 && device < lab_device_count(); }

}  // namespace

const char* lab_open() {
  static const std::string why = open();
  return why.empty() ? nullptr : why.c_str();
}

int lab_device_count() { return static_cast<int>(devices.size()); }

int lab_driver_version() {
  int version = 0;
  driver.cuDriverGetVersion(&version);
  return version;
}

int lab_on_fake() { return driver.fake_work != nullptr; }

const char* lab_error_name(int code) {
  const char* name = nullptr;
  if (driver.cuGetErrorName != nullptr) driver.cuGetErrorName(static_cast<CUresult>(code), &name);
  return name == nullptr ? "an unknown code" : name;
}

// ---- kernels -----------------------------------------------------------------------------------

int lab_latch_make() {
  const int latch = next_latch++ % latch_count;
  latches[latch] = {0, 0};
  return latch;
}

int lab_latch_hold(int latch, int device, void* stream, double seconds) {
  if (!is_known(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (driver.fake_work != nullptr) return driver.fake_work(device, stream_of(stream), nullptr, 0);
  const int* flag = &latches[latch].flag;
  int* timed_out = &latches[latch].timed_out;
  auto nanoseconds = static_cast<unsigned long long>(seconds * 1e9);
  void* arguments[] = {&flag, &timed_out, &nanoseconds};
  return launch(device, &device_state::latch, stream, 1, 1, arguments);
}

void lab_latch_open(int latch) {
  std::atomic_ref(latches[latch].flag).store(1, std::memory_order_seq_cst);
}

int lab_latch_timed_out(int latch) {
  return std::atomic_ref(latches[latch].timed_out).load(std::memory_order_seq_cst);
}

int lab_fill(int device, void* stream, void* words, size_t count, uint32_t value) {
  if (!is_known(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (driver.fake_work != nullptr) {
    const fake_access access{words, 4 * count, 1};
    const int code = driver.fake_work(device, stream_of(stream), &access, 1);
    if (code == 0 && lab_capture_status(device, stream) == 0) {
      std::fill_n(static_cast<std::uint32_t*>(words), count, value);
    }
    return code;
  }
  auto n = static_cast<unsigned long long>(count);
  void* arguments[] = {&words, &n, &value};
  return launch(device, &device_state::fill, stream, blocks_for(count), 256, arguments);
}

int lab_copy(int device, void* stream, void* to, const void* from, size_t count) {
  if (!is_known(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (driver.fake_work != nullptr) {
    const fake_access accesses[] = {{from, 4 * count, 0}, {to, 4 * count, 1}};
    const int code = driver.fake_work(device, stream_of(stream), accesses, 2);
    if (code == 0 && lab_capture_status(device, stream) == 0) std::memcpy(to, from, 4 * count);
    return code;
  }
  auto n = static_cast<unsigned long long>(count);
  void* arguments[] = {&to, &from, &n};
  return launch(device, &device_state::copy, stream, blocks_for(count), 256, arguments);
}

// ---- streams -----------------------------------------------------------------------------------

int lab_is_done(int device, void* stream) {
  return on_device(device).run([&] { return driver.cuStreamQuery(stream_of(stream)); });
}

int lab_wait(int device, void* stream, double seconds) {
  // Nothing happens on the fake driver's devices until somebody waits for it.
  if (driver.fake_work != nullptr) {
    return on_device(device).run([&] { return driver.cuStreamSynchronize(stream_of(stream)); });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (true) {
    const int code = lab_is_done(device, stream);
    if (code != CUDA_ERROR_NOT_READY || std::chrono::steady_clock::now() > end) return code;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

int lab_stream_make(int device, int blocking, void** stream) {
  CUstream made = nullptr;
  const unsigned flags = blocking != 0 ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING;
  const int code = on_device(device).run([&] { return driver.cuStreamCreate(&made, flags); });
  *stream = made;
  return code;
}

int lab_stream_drop(int device, void* stream) {
  return on_device(device).run([&] { return driver.cuStreamDestroy(stream_of(stream)); });
}

// ---- memory ------------------------------------------------------------------------------------

int lab_alloc(int device, enum lab_memory kind, size_t bytes, void* stream, void** memory) {
  CUdeviceptr made = 0;
  const int code = on_device(device).run([&] {
    switch (kind) {
      case LAB_DEVICE: return driver.cuMemAlloc(&made, bytes);
      case LAB_POOLED: return driver.cuMemAllocAsync(&made, bytes, stream_of(stream));
      case LAB_MANAGED: return driver.cuMemAllocManaged(&made, bytes, CU_MEM_ATTACH_GLOBAL);
      case LAB_PINNED: break;
    }
    void* pinned = nullptr;
    const CUresult result = driver.cuMemHostAlloc(&pinned, bytes, CU_MEMHOSTALLOC_PORTABLE);
    made = address_of(pinned);
    return result;
  });
  *memory = reinterpret_cast<void*>(made);
  return code;
}

int lab_free(int device, enum lab_memory kind, void* memory, void* stream) {
  return on_device(device).run([&] {
    switch (kind) {
      case LAB_POOLED: return driver.cuMemFreeAsync(address_of(memory), stream_of(stream));
      case LAB_PINNED: return driver.cuMemFreeHost(memory);
      case LAB_DEVICE:
      case LAB_MANAGED: break;
    }
    return driver.cuMemFree(address_of(memory));
  });
}

int lab_move(int device, void* stream, void* to, const void* from, size_t bytes) {
  return on_device(device).run([&] {
    return driver.cuMemcpyAsync(address_of(to), address_of(from), bytes, stream_of(stream));
  });
}

// ---- captures ----------------------------------------------------------------------------------

int lab_capture_begin(int device, void* stream, int mode) {
  return on_device(device).run([&] {
    return driver.cuStreamBeginCapture(stream_of(stream), static_cast<CUstreamCaptureMode>(mode));
  });
}

int lab_capture_end(int device, void* stream, void** graph) {
  CUgraph made = nullptr;
  const int code =
      on_device(device).run([&] { return driver.cuStreamEndCapture(stream_of(stream), &made); });
  if (graph != nullptr) *graph = made;
  else if (made != nullptr) driver.cuGraphDestroy(made);
  return code;
}

int lab_capture_status(int device, void* stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const int code =
      on_device(device).run([&] { return driver.cuStreamIsCapturing(stream_of(stream), &status); });
  return code == 0 ? static_cast<int>(status) : -code;
}

// ---- findings ----------------------------------------------------------------------------------

int lab_take_races() {
  if (driver.fake_races == nullptr) return 0;
  const int seen = driver.fake_races();
  for (int i = 0; i < seen && std::getenv("LAB_SHOW_RACES") != nullptr; ++i) {
    std::fprintf(stderr, "race: %s\n", driver.fake_race(i));
  }
  driver.fake_clear_races();
  return seen;
}

void lab_note(const char* key, const char* finding) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const char* path = std::getenv("DLPACK_BRIDGE_GPU_FINDINGS");
  if (path == nullptr) return;
  if (std::FILE* file = std::fopen(path, "a")) {
    std::fprintf(file, "%s\t%s\n", key, finding);
    std::fclose(file);
  }
}
