#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string_view>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "fake_cuda/two_devices.hpp"
#include <dlpack_bridge/cuda/gather.hpp>
#include <dlpack_bridge/dtype.hpp>

using namespace fake_cuda;

// Memory, copies and kernels of the fake driver.

namespace {

CUdeviceptr device_memory(std::size_t bytes) {
  CUdeviceptr made = 0;
  REQUIRE(cuMemAlloc(&made, bytes) == CUDA_SUCCESS);
  return made;
}

std::byte* pinned_memory(std::size_t bytes) {
  void* made = nullptr;
  REQUIRE(cuMemHostAlloc(&made, bytes, 0) == CUDA_SUCCESS);
  return static_cast<std::byte*>(made);
}

template <class T = void>
T* pointer(CUdeviceptr where) {
  return reinterpret_cast<T*>(where);
}

template <class T>
CUdeviceptr where(T* data) {
  return reinterpret_cast<CUdeviceptr>(data);
}

CUmemoryPool pool_on(int device) {
  CUmemPoolProps wanted{};
  wanted.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  wanted.location.id = device;
  CUmemoryPool made = nullptr;
  REQUIRE(cuMemPoolCreate(&made, &wanted) == CUDA_SUCCESS);
  return made;
}

CUresult set_access(CUmemoryPool pool, int device, CUmemAccess_flags flags) {
  CUmemAccessDesc wanted{};
  wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  wanted.location.id = device;
  wanted.flags = flags;
  return cuMemPoolSetAccess(pool, &wanted, 1);
}

bool told(std::string_view part) { return findings().find(part) != std::string::npos; }

}  // namespace

// ---- blocks ----------------------------------------------------------------------------------------

TEST_CASE("fresh memory holds 0xCD and counts as alive", "[fake]") {
  two_devices d;
  const CUdeviceptr block = device_memory(64);
  CHECK(*pointer<unsigned char>(block) == 0xCD);
  CHECK(pointer<unsigned char>(block)[63] == 0xCD);
  std::byte* pinned = pinned_memory(8);
  CUdeviceptr managed = 0;
  CHECK(cuMemAllocManaged(&managed, 8, CU_MEM_ATTACH_GLOBAL) == CUDA_SUCCESS);
  CHECK(fake_cuda_live("device") == 1);
  CHECK(fake_cuda_live("host") == 1);
  CHECK(fake_cuda_live("managed") == 1);
  CHECK(cuMemFree(block) == CUDA_SUCCESS);
  CHECK(cuMemFreeHost(pinned) == CUDA_SUCCESS);
  CHECK(cuMemFree(managed) == CUDA_SUCCESS);
  CHECK(fake_cuda_live("device") + fake_cuda_live("host") + fake_cuda_live("managed") == 0);
  CHECK(fake_cuda_races() == 0);
  CUdeviceptr none = 0;
  CHECK(cuMemAlloc(&none, 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemAlloc(&none, std::size_t{1} << 50) == CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_CASE("a free is a race with work that the host has not waited for", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(1);
  CUdeviceptr block = 0;
  void* pinned = nullptr;
  SECTION("device memory") {
    block = device_memory(8);
    read(s, pointer(block), 8, 1);
    CHECK(d.found_by([&] { cuMemFree(block); }) == 1);
  }
  SECTION("pinned memory") {
    pinned = pinned_memory(8);
    write(s, pinned, 8, 1);
    CHECK(d.found_by([&] { cuMemFreeHost(pinned); }) == 1);
  }
  SECTION("waited for") {
    block = device_memory(8);
    read(s, pointer(block), 8, 1);
    cuStreamSynchronize(s);
    CHECK(d.found_by([&] { cuMemFree(block); }) == 0);
  }
}

TEST_CASE("a free waits for the device", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr block = device_memory(8);
  write(s, d.bytes.data(), 8);
  CHECK(cuMemFree(block) == CUDA_SUCCESS);
  CHECK(fake_cuda_host_waits() == 1);
  CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 0);
}

TEST_CASE("what touches freed memory is a finding", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr block = device_memory(8);
  cuMemFree(block);
  CHECK(d.found_by([&] { read(s, pointer(block), 8); }) == 1);
  CHECK(told("use after free"));
  CHECK(told("freed before by cuMemFree on the host"));
  CHECK(d.found_by([&] { fake_cuda_host_access(pointer(block), 1, 0); }) == 1);
}

TEST_CASE("what touches bytes beyond a block is a finding", "[fake]") {
  two_devices d;
  const CUdeviceptr block = device_memory(8);
  CHECK(d.found_by([&] { read(d.stream(), pointer(block), 9); }) == 1);
  CHECK(told("out of bounds"));
}

TEST_CASE("a wrong address, or a second time, cannot be freed", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr block = device_memory(8);
  CHECK(d.found_by([&] { CHECK(cuMemFree(block + 1) == CUDA_ERROR_INVALID_VALUE); }) == 1);
  cuMemFree(block);
  CHECK(d.found_by([&] { CHECK(cuMemFree(block) == CUDA_ERROR_INVALID_VALUE); }) == 1);
  CHECK(cuMemFree(0) == CUDA_SUCCESS);
  const CUdeviceptr other = device_memory(8);
  CHECK(cuMemFreeAsync(other, s) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemFreeHost(pointer(other)) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("stream-ordered memory is used, freed and handed out again in the stream's order",
          "[fake]") {
  two_devices d;
  const CUstream home = d.stream(), other = d.stream();
  CUdeviceptr first = 0, second = 0, third = 0;
  CHECK(cuMemAllocAsync(&first, 100, home) == CUDA_SUCCESS);
  CHECK(fake_cuda_live("device") == 1);
  CHECK(d.found_by([&] { write(home, pointer(first), 100); }) == 0);
  SECTION("another stream has to wait for the allocation") {
    cuMemAllocAsync(&second, 100, home);
    CHECK(d.found_by([&] { read(other, pointer(second), 100); }) == 1);
  }
  SECTION("a free is a race with use on another stream") {
    d.order(other, home);
    CHECK(d.found_by([&] { read(other, pointer(first), 100); }) == 0);
    CHECK(d.found_by([&] { cuMemFreeAsync(first, home); }) == 1);
  }
  SECTION("the same stream gets the block back at once, with other bytes in it") {
    CHECK(cuMemFreeAsync(first, home) == CUDA_SUCCESS);
    CHECK(fake_cuda_live("device") == 0);
    CHECK(*pointer<unsigned char>(first) == 0xDD);
    CHECK(cuMemAllocAsync(&second, 100, home) == CUDA_SUCCESS);
    CHECK(second == first);
    CHECK(*pointer<unsigned char>(first) == 0xCD);
    CHECK(fake_cuda_races() == 0);
  }
  SECTION("another stream gets it only behind the free") {
    cuMemFreeAsync(first, home);
    cuMemAllocAsync(&second, 100, other);
    CHECK(second != first);
    d.order(other, home);
    cuMemAllocAsync(&third, 100, other);
    CHECK(third == first);
    CHECK(fake_cuda_races() == 0);
  }
  SECTION("use after the free is a finding, in order or not") {
    cuMemFreeAsync(first, home);
    CHECK(d.found_by([&] { read(home, pointer(first), 1); }) == 1);
    CHECK(told("freed before by"));
    CHECK(d.found_by([&] { read(other, pointer(first), 1); }) == 1);
    CHECK(told("with no order to"));
    CHECK(d.found_by([&] { cuMemFreeAsync(first, home); }) == 1);
  }
  SECTION("a plain free waits for nobody") {
    CHECK(d.found_by([&] { cuMemFree(first); }) == 1);
    CHECK(fake_cuda_host_waits() == 0);
  }
}

TEST_CASE("a pool gives free blocks back when the host has waited for them", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUmemoryPool pool = pool_on(0);
  const auto use = [&] {
    CUdeviceptr block = 0;
    CHECK(cuMemAllocFromPoolAsync(&block, 512, pool, s) == CUDA_SUCCESS);
    write(s, pointer(block), 512);
    CHECK(cuMemFreeAsync(block, s) == CUDA_SUCCESS);
  };
  SECTION("at a synchronisation, all of them") {
    use();
    CHECK(fake_cuda_live("pooled") == 1);
    cuStreamSynchronize(s);
    CHECK(fake_cuda_live("pooled") == 0);
  }
  SECTION("of the default pool as well") {
    CUdeviceptr block = 0;
    cuMemAllocAsync(&block, 8, s);
    cuMemFreeAsync(block, s);
    CHECK(fake_cuda_live("pooled") == 1);
    cuStreamSynchronize(s);
    CHECK(fake_cuda_live("pooled") == 0);
  }
  SECTION("at a synchronisation, beyond the threshold") {
    cuuint64_t threshold = 512;
    CHECK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold) ==
          CUDA_SUCCESS);
    CUdeviceptr other = 0;
    cuMemAllocFromPoolAsync(&other, 512, pool, s);
    use();
    cuMemFreeAsync(other, s);
    CHECK(fake_cuda_live("pooled") == 2);
    cuStreamSynchronize(s);
    CHECK(fake_cuda_live("pooled") == 1);
  }
  SECTION("when it is trimmed, but nothing that may still be in use") {
    cuuint64_t threshold = 1 << 20;
    cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
    use();
    CHECK(cuMemPoolTrimTo(pool, 0) == CUDA_SUCCESS);
    CHECK(fake_cuda_live("pooled") == 1);
    cuStreamSynchronize(s);
    CHECK(cuMemPoolTrimTo(pool, 512) == CUDA_SUCCESS);
    CHECK(fake_cuda_live("pooled") == 1);
    CHECK(cuMemPoolTrimTo(pool, 0) == CUDA_SUCCESS);
    CHECK(fake_cuda_live("pooled") == 0);
  }
  CHECK(fake_cuda_races() == 0);
}

TEST_CASE("another device reaches a pool when it was let in, and not as a peer", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(), far = d.stream(1);
  const CUmemoryPool pool = pool_on(0);
  CUdeviceptr block = 0;
  cuMemAllocFromPoolAsync(&block, 8, pool, s);
  cuStreamSynchronize(s);
  cuCtxPushCurrent(d.contexts[1]);
  cuCtxEnablePeerAccess(d.contexts[0], 0);
  cuCtxPopCurrent(nullptr);
  SECTION("not let in") {
    CHECK(read(far, pointer(block), 8, 1) == CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK(told("without access"));
  }
  SECTION("let in") {
    CHECK(set_access(pool, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE) == CUDA_SUCCESS);
    CHECK(read(far, pointer(block), 8, 1) == CUDA_SUCCESS);
    CHECK(set_access(pool, 1, CU_MEM_ACCESS_FLAGS_PROT_NONE) == CUDA_SUCCESS);
    CHECK(read(far, pointer(block), 8, 1) == CUDA_ERROR_ILLEGAL_ADDRESS);
  }
  SECTION("its own device cannot be shut out") {
    CHECK(set_access(pool, 0, CU_MEM_ACCESS_FLAGS_PROT_NONE) == CUDA_ERROR_INVALID_VALUE);
    CHECK(read(s, pointer(block), 8) == CUDA_SUCCESS);
  }
}

TEST_CASE("a device that cannot reach a pool spoils it", "[fake]") {
  setenv("FAKE_CUDA_PEERS", "0", 1);
  two_devices d;
  unsetenv("FAKE_CUDA_PEERS");
  const CUstream s = d.stream();
  const CUmemoryPool used = pool_on(0), empty = pool_on(0);
  CUdeviceptr block = 0;
  CHECK(cuMemAllocFromPoolAsync(&block, 8, used, s) == CUDA_SUCCESS);
  CHECK(set_access(used, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE) == CUDA_ERROR_INVALID_DEVICE);
  CHECK(set_access(empty, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE) == CUDA_SUCCESS);
  CHECK(cuMemAllocFromPoolAsync(&block, 8, empty, s) == CUDA_ERROR_INVALID_DEVICE);
}

TEST_CASE("what a caching allocator does at reuse is a race with late users", "[fake]") {
  two_devices d;
  const CUstream home = d.stream(), user = d.stream();
  std::array<std::byte, 16> block{};
  write(home, block.data(), 16);
  d.order(user, home);
  read(user, block.data(), 16);
  SECTION("not ordered") {
    CHECK(d.found_by([&] { fake_cuda_reuse(0, home, block.data(), 16); }) == 1);
  }
  SECTION("ordered") {
    d.order(home, user);
    CHECK(d.found_by([&] { fake_cuda_reuse(0, home, block.data(), 16); }) == 0);
  }
  CHECK(block[15] == std::byte{0xCD});
}

TEST_CASE("addresses are classified", "[fake]") {
  two_devices d;
  cuCtxPushCurrent(d.contexts[1]);
  const CUdeviceptr block = device_memory(64);
  std::byte* pinned = pinned_memory(8);
  CUdeviceptr managed = 0;
  cuMemAllocManaged(&managed, 8, CU_MEM_ATTACH_GLOBAL);
  cuCtxPopCurrent(nullptr);

  struct answers {
    unsigned type = 77;
    unsigned is_managed = 77;
    int device = 77;
    CUcontext context = nullptr;
    CUdeviceptr start = 77;
    std::size_t size = 77;
    CUresult result = CUDA_ERROR_UNKNOWN;
  };
  const auto ask = [](CUdeviceptr at) {
    answers a;
    std::array attributes{CU_POINTER_ATTRIBUTE_MEMORY_TYPE,      CU_POINTER_ATTRIBUTE_IS_MANAGED,
                          CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,   CU_POINTER_ATTRIBUTE_CONTEXT,
                          CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
    std::array<void*, 6> data{&a.type, &a.is_managed, &a.device, &a.context, &a.start, &a.size};
    a.result = cuPointerGetAttributes(6, attributes.data(), data.data(), at);
    return a;
  };
  const answers on_device = ask(block + 10);
  CHECK(on_device.type == CU_MEMORYTYPE_DEVICE);
  CHECK(on_device.is_managed == 0);
  CHECK(on_device.device == 1);
  CHECK(on_device.context == d.contexts[1]);
  CHECK(on_device.start == block);
  CHECK(on_device.size == 64);
  CHECK(ask(where(pinned)).type == CU_MEMORYTYPE_HOST);
  CHECK(ask(managed).is_managed == 1);
  CHECK(ask(managed).type == CU_MEMORYTYPE_DEVICE);
  const answers unknown = ask(where(d.bytes.data()));
  CHECK(unknown.result == CUDA_SUCCESS);
  CHECK(unknown.type == 0);
  CHECK(unknown.start == 0);
  CHECK(ask(block + 64).type == 0);
  unsigned type = 0;
  CHECK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, where(d.bytes.data())) ==
        CUDA_ERROR_INVALID_VALUE);
  CHECK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block) == CUDA_SUCCESS);
  cuMemFree(block);
  CHECK(ask(block).type == 0);
}

TEST_CASE("host memory can be registered, once", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  std::byte* mine = d.bytes.data();
  unsigned type = 0;
  CHECK(cuMemHostRegister(mine, 16, 0) == CUDA_SUCCESS);
  CHECK(cuMemHostRegister(mine + 8, 16, 0) == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CHECK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, where(mine)) ==
        CUDA_SUCCESS);
  CHECK(type == CU_MEMORYTYPE_HOST);
  read(s, mine, 8);
  CHECK(d.found_by([&] { CHECK(cuMemHostUnregister(mine) == CUDA_SUCCESS); }) == 1);
  CHECK(cuMemHostUnregister(mine) == CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

TEST_CASE("a test's own memory can stand for a device's", "[fake]") {
  two_devices d;
  int device = -1;
  CHECK(fake_cuda_adopt(1, d.bytes.data(), 64) == CUDA_SUCCESS);
  CHECK(cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, where(&d.bytes[10])) ==
        CUDA_SUCCESS);
  CHECK(device == 1);
  fake_cuda_disown(d.bytes.data());
  CHECK(d.found_by([&] { fake_cuda_disown(d.bytes.data()); }) == 1);
}

// ---- copies ----------------------------------------------------------------------------------------

TEST_CASE("a copy moves bytes and is ordered like work", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  const CUdeviceptr from = device_memory(8), to = device_memory(8);
  std::memset(pointer(from), 5, 8);
  write(a, pointer(from), 8);
  SECTION("in order") {
    CHECK(d.found_by([&] { cuMemcpyAsync(to, from, 8, a); }) == 0);
    CHECK(*pointer<char>(to + 7) == 5);
    CHECK(d.found_by([&] { read(b, pointer(to), 8); }) == 1);
  }
  SECTION("with no order") {
    CHECK(d.found_by([&] { cuMemcpyAsync(to, from, 8, b); }) == 1);
  }
  SECTION("only the bytes it copies") {
    write(a, pointer(to), 4);
    CHECK(d.found_by([&] { cuMemcpyAsync(to + 4, to + 4, 4, b); }) == 0);
  }
  CHECK(fake_cuda_host_waits() == 0);
}

TEST_CASE("only a copy from host to host is done when the call returns", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr block = device_memory(8);
  std::byte* host = d.bytes.data();
  SECTION("to pageable memory: the driver may wait, and need not") {
    write(s, pointer(block), 8);
    cuMemcpyAsync(where(host), block, 8, s);
    CHECK(fake_cuda_host_waits() == 0);
    CHECK(d.found_by([&] { fake_cuda_host_access(host, 8, 0); }) == 1);
  }
  SECTION("from pageable memory: a device that reaches it may read it later") {
    cuMemcpyAsync(block, where(host), 8, s);
    CHECK(d.found_by([&] { fake_cuda_host_access(host, 8, 1); }) == 1);
    CHECK(cuStreamQuery(s) == CUDA_ERROR_NOT_READY);
  }
  SECTION("from pageable memory that some work still writes") {
    write(d.stream(), host, 8);
    CHECK(d.found_by([&] { cuMemcpyAsync(block, where(host), 8, s); }) == 1);
  }
  SECTION("between pageable memory: done") {
    cuMemcpyAsync(where(host + 64), where(host), 8, s);
    CHECK(cuStreamQuery(s) == CUDA_SUCCESS);
  }
  SECTION("to pinned memory: the host has to wait") {
    std::byte* pinned = pinned_memory(8);
    cuMemcpyAsync(where(pinned), block, 8, s);
    CHECK(fake_cuda_host_waits() == 0);
    CHECK(d.found_by([&] { fake_cuda_host_access(pinned, 8, 0); }) == 1);
  }
  SECTION("from pinned memory: the host must not write yet") {
    std::byte* pinned = pinned_memory(8);
    cuMemcpyAsync(block, where(pinned), 8, s);
    CHECK(d.found_by([&] { fake_cuda_host_access(pinned, 8, 0); }) == 0);
    CHECK(d.found_by([&] { fake_cuda_host_access(pinned, 8, 1); }) == 1);
  }
}

TEST_CASE("a 2D copy moves rows and touches nothing between them", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(), other = d.stream();
  const CUdeviceptr from = device_memory(64), to = device_memory(64);
  std::iota(pointer<unsigned char>(from), pointer<unsigned char>(from) + 64, 0);
  write(other, pointer(from + 20), 13);  // all that lies between the two rows
  CUDA_MEMCPY2D p{};
  p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  p.srcDevice = from;
  p.srcPitch = 16;
  p.srcXInBytes = 1;
  p.srcY = 1;
  p.dstDevice = to;
  p.dstPitch = 4;
  p.WidthInBytes = 3;
  p.Height = 2;
  CHECK(d.found_by([&] { CHECK(cuMemcpy2DAsync(&p, s) == CUDA_SUCCESS); }) == 0);
  CHECK(std::memcmp(pointer(to), "\x11\x12\x13\xCD\x21\x22\x23\xCD", 8) == 0);
  p.srcPitch = 3;
  CHECK(cuMemcpy2DAsync(&p, s) == CUDA_ERROR_INVALID_VALUE);
  p.srcPitch = 16;
  p.srcXInBytes = p.srcY = 0;
  p.WidthInBytes = 4;
  p.Height = 1;
  p.srcDevice = from + 20;
  CHECK(d.found_by([&] { cuMemcpy2DAsync(&p, s); }) == 1);
}

TEST_CASE("a 3D copy moves slices of rows", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr from = device_memory(64), to = device_memory(8);
  std::iota(pointer<unsigned char>(from), pointer<unsigned char>(from) + 64, 0);
  const auto fill = [&](auto& p) {
    p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    p.srcDevice = from;
    p.srcPitch = 8;
    p.srcHeight = 4;
    p.dstDevice = to;
    p.dstPitch = 2;
    p.dstHeight = 2;
    p.WidthInBytes = 2;
    p.Height = 2;
    p.Depth = 2;
  };
  CUDA_MEMCPY3D p{};
  CUDA_MEMCPY3D_PEER peer{};
  fill(p);
  fill(peer);
  SECTION("on one device") {
    CHECK(cuMemcpy3DAsync(&p, s) == CUDA_SUCCESS);
    CHECK(std::memcmp(pointer(to), "\0\1\10\11\40\41\50\51", 8) == 0);
    p.srcHeight = 1;
    CHECK(cuMemcpy3DAsync(&p, s) == CUDA_ERROR_INVALID_VALUE);
  }
  SECTION("between devices") {
    CHECK(cuMemcpy3DPeerAsync(&peer, s) == CUDA_ERROR_INVALID_CONTEXT);
    peer.srcContext = d.contexts[0];
    peer.dstContext = d.contexts[1];
    CHECK(cuMemcpy3DPeerAsync(&peer, s) == CUDA_SUCCESS);
    CHECK(std::memcmp(pointer(to), "\0\1\10\11\40\41\50\51", 8) == 0);
  }
}

TEST_CASE("a copy between devices, and a fill, are work like any other", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(), other = d.stream();
  const CUdeviceptr from = device_memory(8);
  cuCtxPushCurrent(d.contexts[1]);
  const CUdeviceptr to = device_memory(8);
  cuCtxPopCurrent(nullptr);
  CHECK(cuMemsetD8Async(from, 9, 8, s) == CUDA_SUCCESS);
  CHECK(cuMemcpyPeerAsync(to, d.contexts[1], from, d.contexts[0], 8, s) == CUDA_SUCCESS);
  CHECK(*pointer<char>(to + 7) == 9);
  CHECK(d.found_by([&] { cuMemsetD8Async(to, 1, 8, other); }) == 1);
}

TEST_CASE("what a capture records is not carried out", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUdeviceptr from = device_memory(8), to = device_memory(8);
  cuMemsetD8Async(from, 9, 8, s);
  cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED);
  CHECK(cuMemcpyAsync(to, from, 8, s) == CUDA_SUCCESS);
  CHECK(cuMemsetD8Async(to, 1, 8, s) == CUDA_SUCCESS);
  CHECK(*pointer<unsigned char>(to) == 0xCD);
}

// ---- kernels ---------------------------------------------------------------------------------------

namespace {

namespace db = dlpack_bridge;

struct gather_kernel {
  explicit gather_kernel(const char* name = db::cuda::gather_kernel) {
    const char image[] = "any image";
    REQUIRE(cuLibraryLoadData(&library, image, nullptr, nullptr, 0, nullptr, nullptr, 0) ==
            CUDA_SUCCESS);
    REQUIRE(cuLibraryGetKernel(&kernel, library, name) == CUDA_SUCCESS);
    REQUIRE(cuKernelGetFunction(&function, kernel) == CUDA_SUCCESS);
  }
  CUresult launch(db::cuda::gather_arguments a, CUstream s, unsigned threads = 256) const {
    void* parameters[] = {&a};
    return cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, s, parameters, nullptr);
  }
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  CUfunction function = nullptr;
};

/// Every second of `count` elements of `from`, backwards, side by side into `to`.
db::cuda::gather_arguments every_second_backwards(CUdeviceptr from, db::dtype from_type,
                                                  CUdeviceptr to, db::dtype to_type,
                                                  std::int64_t count) {
  db::cuda::gather_arguments a{};
  const auto side = [](CUdeviceptr at, db::dtype t, std::int64_t stride) {
    db::cuda::gather_side s{};
    s.data = pointer(at);
    s.byte_strides[0] = stride;
    s.code = t.code;
    s.bits = t.bits;
    s.lanes = t.lanes;
    return s;
  };
  const auto last = static_cast<CUdeviceptr>(2 * (count - 1) * from_type.itemsize());
  a.from = side(from + last, from_type, -2 * from_type.itemsize());
  a.to = side(to, to_type, to_type.itemsize());
  a.shape[0] = a.count = count;
  a.ndim = 1;
  return a;
}

}  // namespace

TEST_CASE("the gather kernel is done on the host, by name, with what it converts", "[fake]") {
  two_devices d;
  const gather_kernel gather;
  const CUstream s = d.stream();
  const CUdeviceptr from = device_memory(24), to = device_memory(24);
  auto* in = pointer<std::int32_t>(from);
  std::iota(in, in + 6, 1);
  CHECK(gather.launch(every_second_backwards(from, db::int32, to, db::float64, 3), s) ==
        CUDA_SUCCESS);
  const auto* out = pointer<double>(to);
  CHECK(out[0] == 5.0);
  CHECK(out[1] == 3.0);
  CHECK(out[2] == 1.0);
  CHECK(fake_cuda_races() == 0);
}

TEST_CASE("the gather kernel touches its elements and nothing between them", "[fake]") {
  two_devices d;
  const gather_kernel gather;
  const CUstream s = d.stream(), other = d.stream();
  const CUdeviceptr from = device_memory(24), to = device_memory(24);
  const auto a = every_second_backwards(from, db::int32, to, db::int32, 3);
  write(other, pointer(from + 4), 4);
  CHECK(d.found_by([&] { gather.launch(a, s); }) == 0);
  CHECK(d.found_by([&] { read(other, pointer(to), 12); }) == 1);
  CHECK(d.found_by([&] { write(other, pointer(from + 8), 4); }) == 1);
  CHECK(d.found_by([&] { write(other, pointer(to + 12), 4); }) == 0);
}

TEST_CASE("kernels that do not exist are not found", "[fake]") {
  two_devices d;
  const gather_kernel gather;
  CUkernel kernel = nullptr;
  CHECK(cuLibraryGetKernel(&kernel, gather.library, "no_such_kernel") == CUDA_ERROR_NOT_FOUND);
  CHECK(cuLibraryUnload(gather.library) == CUDA_SUCCESS);
  CUfunction function = nullptr;
  CHECK(d.found_by([&] {
    CHECK(cuKernelGetFunction(&function, gather.kernel) == CUDA_ERROR_INVALID_HANDLE);
  }) == 1);
}

TEST_CASE("impossible launches fail", "[fake]") {
  two_devices d;
  const gather_kernel gather, moves(db::cuda::gather_move_kernel);
  const CUstream s = d.stream();
  const CUdeviceptr from = device_memory(24), to = device_memory(24);
  const auto good = every_second_backwards(from, db::int32, to, db::int32, 3);
  CHECK(gather.launch(good, d.stream(1)) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(gather.launch(good, s, 2048) == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  CHECK(gather.launch(good, s, 0) == CUDA_ERROR_INVALID_VALUE);
  auto bad = good;
  bad.count = 4;
  CHECK(gather.launch(bad, s) == CUDA_ERROR_LAUNCH_FAILED);
  bad = every_second_backwards(from, db::int32, to, db::float32, 3);
  CHECK(moves.launch(bad, s) == CUDA_ERROR_LAUNCH_FAILED);
  CHECK(moves.launch(good, s) == CUDA_SUCCESS);
}

TEST_CASE("a kernel that touches what its device cannot reach loses the context", "[fake]") {
  two_devices d;
  const gather_kernel gather;
  const CUstream s = d.stream();
  const CUdeviceptr to = device_memory(24);
  CUdeviceptr from = where(d.bytes.data());  // pageable
  bool reachable = false;
  SECTION("pageable memory") {}
  SECTION("memory of another device") {
    cuCtxPushCurrent(d.contexts[1]);
    from = device_memory(24);
    cuCtxPopCurrent(nullptr);
  }
  SECTION("memory of another device, with peer access") {
    cuCtxPushCurrent(d.contexts[1]);
    from = device_memory(24);
    cuCtxPopCurrent(nullptr);
    cuCtxEnablePeerAccess(d.contexts[1], 0);
    reachable = true;
  }
  SECTION("pinned memory") {
    from = where(pinned_memory(24));
    reachable = true;
  }
  SECTION("registered memory") {
    cuMemHostRegister(d.bytes.data(), 24, 0);
    reachable = true;
  }
  SECTION("memory that is registered in part") { cuMemHostRegister(d.bytes.data(), 16, 0); }
  const auto a = every_second_backwards(from, db::int32, to, db::int32, 3);
  CHECK(gather.launch(a, s) == (reachable ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS));
  CHECK(cuCtxSynchronize() == (reachable ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS));
  CHECK(fake_cuda_races() == (reachable ? 0 : 1));
}
