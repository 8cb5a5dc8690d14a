#include <cstdint>
#include <string>
#include <string_view>

#include "api.hpp"
#include "gather.hpp"

// Libraries of kernels, and their launch. The product's kernels are done on the host.
using namespace fake_cuda;

namespace {

using dlpack_bridge::cuda::gather_arguments;

template <class Record>
Record& need_record(frame& f, const handle_table<Record>& table, const void* handle) {
  if (Record* found = table.find(handle)) return *found;
  report(f.w, std::string(f.function) + " was given a handle that does not exist");
  throw call_failed{CUDA_ERROR_INVALID_HANDLE};
}

const char* known_kernel(std::string_view name) {
  using namespace dlpack_bridge::cuda;
  for (const char* known : {gather_kernel, gather_move_kernel}) {
    if (name == known) return known;
  }
  return nullptr;
}

// Memory can be registered in part.
void need_reachable(frame& f, const context& from, byte_range touched) {
  const block* b = block_at(f.w, touched.begin);
  const bool whole =
      b != nullptr && (b->kind != block_kind::registered || touched.end <= b->bytes.end);
  if (!whole) fault(f, from, "the kernel touches pageable host memory");
  if (!reaches(from, *b)) {
    fault(f, from, "the kernel touches memory of another device without access");
  }
}

// A CUkernel that is launched as it is runs in the current context.
const context& home_of(frame& f, const kernel& k) {
  return k.home == nullptr ? need_context(f) : *k.home;
}

CUresult launch(frame& f, const kernel& k, stream& s, const gather_arguments& a) {
  const bool moves_only = std::string_view(k.name) == dlpack_bridge::cuda::gather_move_kernel;
  if (const char* wrong = gather_fault(a, moves_only)) {
    report(f.w, std::string(k.name) + ": " + wrong);
    return CUDA_ERROR_LAUNCH_FAILED;
  }
  const std::vector<touched> ranges = gather_ranges(a);
  if (s.capturing == nullptr) {
    for (const touched& t : ranges) need_reachable(f, *s.home, t.bytes);
  }
  if (put_work(f, s, ranges)) gather(a);
  return CUDA_SUCCESS;
}

}  // namespace

// Whether the image would run on a chip is not the fake's to say.
FAKE_CUDA_API cuLibraryLoadData(CUlibrary* out, const void* image, CUjit_option*, void**, unsigned,
                                CUlibraryOption*, void**, unsigned) {
  return call<"cuLibraryLoadData">(reach::driver(), [&](frame& f) {
    need(out != nullptr && image != nullptr);
    forbid_unsafe(f);
    *out = reinterpret_cast<CUlibrary>(&f.w.libraries.make());
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuLibraryUnload(CUlibrary handle) {
  return call<"cuLibraryUnload">(reach::driver(), [&](frame& f) {
    library& gone = need_record(f, f.w.libraries, handle);
    f.w.kernels.each([&](kernel& k) {
      if (k.from == &gone) f.w.kernels.destroy(k);
    });
    f.w.libraries.destroy(gone);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuLibraryGetKernel(CUkernel* out, CUlibrary handle, const char* name) {
  return call<"cuLibraryGetKernel">(reach::driver(), [&](frame& f) {
    need(out != nullptr && name != nullptr);
    const library& from = need_record(f, f.w.libraries, handle);
    const char* known = known_kernel(name);
    if (known == nullptr) return CUDA_ERROR_NOT_FOUND;
    kernel& k = f.w.kernels.make();
    k.from = &from;
    k.name = known;
    *out = reinterpret_cast<CUkernel>(&k);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuKernelGetFunction(CUfunction* out, CUkernel handle) {
  return call<"cuKernelGetFunction">(reach::current(), [&](frame& f) {
    need(out != nullptr);
    const kernel k = need_record(f, f.w.kernels, handle);
    context& current = need_context(f);
    forbid_unsafe(f);
    take_time(f);  // this is where code is loaded
    kernel& function = f.w.kernels.make();
    function.from = k.from;
    function.name = k.name;
    function.home = &current;
    *out = reinterpret_cast<CUfunction>(&function);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                             unsigned block_x, unsigned block_y, unsigned block_z,
                             unsigned shared_bytes, CUstream handle, void** parameters,
                             void** extra) {
  return call<"cuLaunchKernel">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    const kernel& k = need_record(f, f.w.kernels, function);
    if (&home_of(f, k) != s.home) return CUDA_ERROR_INVALID_HANDLE;
    const std::uint64_t threads = std::uint64_t{block_x} * block_y * block_z;
    need(grid_x > 0 && grid_y > 0 && grid_z > 0 && threads > 0);
    need(grid_x <= 2147483647 && grid_y <= 65535 && grid_z <= 65535);
    need(parameters != nullptr && parameters[0] != nullptr && extra == nullptr);
    const bool fits = threads <= 1024 && shared_bytes <= 49152;
    if (!fits) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    return launch(f, k, s, *static_cast<const gather_arguments*>(parameters[0]));
  });
}
