#include <dlpack_bridge/cuda/driver.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <dlfcn.h>
#include <pthread.h>

#include <dlpack_bridge/cuda/immortal.hpp>

namespace dlpack_bridge::cuda {
namespace {

// Why a driver that was opened must not be called any more.
enum class ending : int { none, forked, exiting };
std::atomic<ending> ended{ending::none};

struct opened_driver {
  driver_api api;
  bool usable = false;
  int code = CUDA_ERROR_NO_DEVICE;
  std::string name = "CUDA_ERROR_NO_DEVICE";
  std::string text;
};

void fail(opened_driver& d, int code, std::string name, std::string text) {
  d.code = code;
  d.name = std::move(name);
  d.text = std::move(text);
}

// The file name of the driver itself: the toolkit's stub is libcuda.so. Under WSL the driver lies
// beside the loader's path.
void* open_library(std::string& message) {
  for (const char* name : {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"}) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
    const char* said = dlerror();
    if (message.empty() && said != nullptr) message = said;
  }
  return nullptr;
}

bool find_entries(opened_driver& d, PFN_cuGetProcAddress_v12000 get) {
  // Plain streams: 0 never means the per-thread stream, however this file was compiled.
  const auto find = [&](auto& entry, const char* symbol, int version) {
    void* address = nullptr;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    const CUresult asked =
        get(symbol, &address, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
    if (asked != CUDA_SUCCESS || address == nullptr) {
      fail(d, CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND",
           std::string("the CUDA driver has no ") + symbol + ": it is older than CUDA 12.0");
      return false;
    }
    entry.address = reinterpret_cast<decltype(entry.address)>(address);
    entry.name = symbol;
    return true;
  };
#define DLPACK_BRIDGE_CUDA_FIND(symbol, version) find(d.api.symbol, #symbol, version) &&
  return DLPACK_BRIDGE_CUDA_DRIVER(DLPACK_BRIDGE_CUDA_FIND) true;
#undef DLPACK_BRIDGE_CUDA_FIND
}

bool start(opened_driver& d) {
  CUresult result = d.api.cuInit(0);
  const char* call = d.api.cuInit.name;
  if (result == CUDA_SUCCESS) {
    call = d.api.cuDeviceGetCount.name;
    result = d.api.cuDeviceGetCount(&d.api.device_count);
  }
  d.api.device_count = std::min(d.api.device_count, most_devices);
  if (result == CUDA_SUCCESS && d.api.device_count == 0) result = CUDA_ERROR_NO_DEVICE;
  if (result == CUDA_SUCCESS) return true;
  const driver_status said = status_of(d.api, result);
  fail(d, said.code, said.name, std::string(call) + ": " + said.text);
  return false;
}

opened_driver open_driver() {
  opened_driver d;
  void* library = open_library(d.text);
  if (library == nullptr) return d;
  const auto get =
      reinterpret_cast<PFN_cuGetProcAddress_v12000>(dlsym(library, "cuGetProcAddress_v2"));
  if (get == nullptr) {
    fail(d, CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND",
         "the CUDA driver has no cuGetProcAddress_v2: it is older than CUDA 12.0");
    return d;
  }
  d.usable = find_entries(d, get) && start(d);
  if (!d.usable) return d;
  fail(d, CUDA_SUCCESS, "CUDA_SUCCESS", "");
  // A context does not survive a fork. At exit this runs before the driver's own end, since it was
  // registered later.
  pthread_atfork(nullptr, nullptr, [] { ended.store(ending::forked, std::memory_order_relaxed); });
  std::atexit([] { ended.store(ending::exiting, std::memory_order_relaxed); });
  return d;
}

const opened_driver& opened() {
  static immortal<opened_driver> d(open_driver());
  return d.get();
}

}  // namespace

const driver_api* driver() noexcept {
  const opened_driver& d = opened();
  const bool usable = d.usable && ended.load(std::memory_order_relaxed) == ending::none;
  return usable ? &d.api : nullptr;
}

driver_status status() noexcept {
  const opened_driver& d = opened();
  if (!d.usable) return {d.code, d.name.c_str(), d.text.c_str()};
  switch (ended.load(std::memory_order_relaxed)) {
    case ending::none: return {};
    case ending::forked:
      return {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED",
              "this process was forked after CUDA was initialized; start it with spawn"};
    case ending::exiting: break;
  }
  return {CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "the process is exiting"};
}

driver_status status_of(const driver_api& api, CUresult result) noexcept {
  driver_status said{result, nullptr, nullptr};
  if (api.cuGetErrorName(result, &said.name) != CUDA_SUCCESS || said.name == nullptr) {
    said.name = "CUDA_ERROR_UNKNOWN";
  }
  if (api.cuGetErrorString(result, &said.text) != CUDA_SUCCESS || said.text == nullptr) {
    said.text = "the driver has no text for it";
  }
  return said;
}

const driver_api& need_driver() {
  if (const driver_api* api = driver()) [[likely]]
    return *api;
  const driver_status why = status();
  throw cuda_error(why.code, why.name,
                   std::string("no CUDA driver answers: ") + why.text + " (" + why.name + ")");
}

void throw_driver_error(CUresult result, const char* call, call_site where) {
  const driver_status said = status_of(opened().api, result);
  std::string message = std::string(call) + " failed: " + said.text + " (" + said.name + ", " +
                        std::to_string(said.code) + ")";
  if (where.device >= 0) message += ", device " + std::to_string(where.device);
  if (where.stream != nullptr) {
    char stream[32];
    std::snprintf(stream, sizeof stream, ", stream %p", where.stream);
    message += stream;
  }
  if (is_sticky(result))
    message += "; it may have been reported by an earlier asynchronous operation";
  throw cuda_error(said.code, said.name, message);
}

bool is_sticky(CUresult result) noexcept {
  switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_EXTERNAL_DEVICE: return true;
    default: return false;
  }
}

bool is_capture_refusal(CUresult result) noexcept {
  return result >= CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED &&
         result <= CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
}

}  // namespace dlpack_bridge::cuda
