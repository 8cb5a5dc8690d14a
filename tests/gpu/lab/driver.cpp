#include <dlfcn.h>

#include "driver.hpp"

namespace lab {
namespace {

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
}

template <class Function>
bool ask(PFN_cuGetProcAddress_v12000 find, const char* name, int version, Function& function) {
  void* found = nullptr;
  const auto plain = CU_GET_PROC_ADDRESS_LEGACY_STREAM;
  if (find(name, &found, version, plain, nullptr) != CUDA_SUCCESS) found = nullptr;
  function = reinterpret_cast<Function>(found);
  return found != nullptr;
}

}  // namespace

std::string open_driver(driver_table& table) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) return "no libcuda.so.1";
  PFN_cuGetProcAddress_v12000 get = nullptr;
  find(library, "cuGetProcAddress_v2", get);
  if (get == nullptr) return "the driver is older than CUDA 12.0";
  std::string missing;
#define LAB_FIND(symbol, version) \
  if (!ask(get, #symbol, version, table.symbol)) missing += " " #symbol;
  LAB_DRIVER(LAB_FIND)
#undef LAB_FIND
  if (!missing.empty()) return "the driver lacks" + missing;
#define LAB_FIND(symbol, version) ask(get, #symbol, version, table.symbol);
  LAB_DRIVER_OPTIONAL(LAB_FIND)
#undef LAB_FIND
  find(library, "fake_cuda_work", table.fake_work);
  find(library, "fake_cuda_races", table.fake_races);
  find(library, "fake_cuda_race", table.fake_race);
  find(library, "fake_cuda_clear_races", table.fake_clear_races);

  if (const CUresult code = table.cuInit(0); code != CUDA_SUCCESS) {
    const char* name = "an unknown error";
    table.cuGetErrorName(code, &name);
    return std::string("cuInit: ") + name;
  }
  int count = 0;
  if (table.cuDeviceGetCount(&count) != CUDA_SUCCESS || count == 0) return "no CUDA device";
  return {};
}

}  // namespace lab
