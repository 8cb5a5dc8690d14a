#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "fake_torch_cuda.hpp"

namespace fake_torch {
namespace {

struct block {
  std::size_t bytes = 0;
  CUstream home = nullptr;
  std::vector<CUstream> users;
};

struct state {
  std::mutex mutex;
  CUstream current = nullptr;
  std::map<void*, block> blocks;
  std::vector<CUstream> notes;
  int reused = 0;
};
state& world() {
  static auto* made = new state;
  return *made;
}

// The driver's number for torch's default stream, whose handle is null.
CUstream driver_stream(CUstream stream) { return stream == nullptr ? CU_STREAM_LEGACY : stream; }

// The home stream waits for the noted users, then the block is handed out again.
void give_back(void* data) {
  const std::lock_guard lock(world().mutex);
  const auto found = world().blocks.find(data);
  const block freed = std::exchange(found->second, {});
  world().blocks.erase(found);
  fake_cuda_set_quiet(1);
  CUcontext context;
  cuDevicePrimaryCtxRetain(&context, 0);
  cuCtxPushCurrent(context);
  for (const CUstream user : freed.users) {
    CUevent event;
    cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    cuEventRecord(event, driver_stream(user));
    cuStreamWaitEvent(driver_stream(freed.home), event, 0);
    cuEventDestroy(event);
  }
  fake_cuda_reuse(0, driver_stream(freed.home), data, freed.bytes);
  fake_cuda_disown(data);
  cuCtxPopCurrent(nullptr);
  cuDevicePrimaryCtxRelease(0);
  fake_cuda_set_quiet(0);
  std::free(data);
  ++world().reused;
}

void* new_block(std::size_t bytes) {
  void* data = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  const std::lock_guard lock(world().mutex);
  fake_cuda_adopt(0, data, bytes);
  world().blocks[data] = {bytes, world().current, {}};
  return data;
}

struct allocator final : c10::Allocator {
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = new_block(bytes);
    return {data, data, give_back, c10::Device(c10::kCUDA, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return give_back; }
  void copy_data(void*, const void*, std::size_t) const override {}
};

struct guard final : c10::impl::DeviceGuardImplInterface {
  explicit guard(c10::DeviceIndex count) : devices(count) {}
  c10::DeviceIndex devices;

  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return c10::Device(c10::kCUDA, 0); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return devices; }
  c10::Stream getStream(c10::Device where) const override {
    TORCH_CHECK(devices > 0, "Found no NVIDIA driver on your system");
    const auto id = reinterpret_cast<c10::StreamId>(world().current);
    return c10::Stream(c10::Stream::UNSAFE, where, id);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return reinterpret_cast<void*>(stream.id());
  }
  // Memory of others is passed over without a word, as the caching allocator does.
  void recordDataPtrOnStream(const c10::DataPtr& memory, const c10::Stream& stream) const override {
    if (memory.get_deleter() != give_back) return;
    const std::lock_guard lock(world().mutex);
    const auto user = static_cast<CUstream>(getStreamNativeHandle(stream));
    world().blocks.at(memory.get()).users.push_back(user);
    world().notes.push_back(user);
  }
};

}  // namespace

void give_cuda(c10::DeviceIndex devices) {
  static allocator memory;
  static const guard device(devices);
  static const c10::impl::DeviceGuardImplRegistrar registered(c10::kCUDA, &device);
  c10::SetAllocator(c10::kCUDA, &memory);
}

void set_current_stream(CUstream stream) { world().current = stream; }

at::Tensor arange(std::int64_t size) {
  const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(float);
  auto* data = static_cast<float*>(new_block(bytes));
  for (int i = 0; i < size; ++i) data[i] = static_cast<float>(i);
  const fake_cuda_access writing{data, bytes, 1};
  fake_cuda_work(0, driver_stream(world().current), &writing, 1);
  const c10::Device where(c10::kCUDA, 0);
  return at::for_blob(data, {size})
      .context(data, give_back)
      .options(at::TensorOptions(at::kFloat).device(where))
      .target_device(where)
      .make_tensor();
}

std::vector<CUstream> notes() { return std::exchange(world().notes, {}); }

int reused() { return std::exchange(world().reused, 0); }

}  // namespace fake_torch
