#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include <dlpack_bridge/device_backend.hpp>

using namespace dlpack_bridge;

TEST_CASE("the host can always be used", "[device_backend]") {
  CHECK(host_backend().status().answers());
}

TEST_CASE("host memory starts at a multiple of the alignment", "[device_backend]") {
  for (std::int64_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
    for (const std::int64_t nbytes : {1, 63, 64, 65, 4096, 100'000}) {
      const backend_memory memory = host_backend().allocate(nbytes, alignment, device(), {});
      REQUIRE(memory.data != nullptr);
      CHECK(reinterpret_cast<std::uintptr_t>(memory.data) %
                static_cast<std::uintptr_t>(alignment) ==
            0);
      std::memset(memory.data, 1, static_cast<std::size_t>(nbytes));
      CHECK(memory.keep);
    }
  }
}

TEST_CASE("no bytes still have an address of their own", "[device_backend]") {
  const backend_memory one = host_backend().allocate(0, 1, device(), {});
  const backend_memory two = host_backend().allocate(0, 1, device(), {});
  CHECK(one.data != nullptr);
  CHECK(one.data != two.data);
  *static_cast<std::byte*>(one.data) = std::byte{1};
}

TEST_CASE("host memory that nobody has is bad_alloc", "[device_backend][error]") {
  for (const std::int64_t nbytes : {std::int64_t{1} << 50, INT64_MAX}) {
    CHECK_THROWS_AS(host_backend().allocate(nbytes, 64, device(), {}), std::bad_alloc);
  }
}

TEST_CASE("the host copies between layouts and types", "[device_backend]") {
  const std::vector<float> from = {1, 2, 3, 4, 5, 6};
  std::vector<std::int32_t> to(6);
  const extent shape[] = {2, 3}, from_strides[] = {12, 4}, transposed[] = {4, 8};
  const bool running =
      host_backend().copy({.shape = shape,
                           .ndim = 2,
                           .from = {const_cast<float*>(from.data()), from_strides, float32},
                           .to = {to.data(), transposed, int32},
                           .change = {.negate = true}});
  CHECK_FALSE(running);
  CHECK(to == std::vector<std::int32_t>{-1, -4, -2, -5, -3, -6});
}

TEST_CASE("there is no CUDA backend until one is handed in", "[device_backend]") {
  CHECK(cuda_backend() == nullptr);
  static const device_backend absent = [] {
    device_backend made = host_backend();
    made.status = []() noexcept { return no_driver; };
    return made;
  }();
  use_cuda_backend(absent);
  CHECK(cuda_backend() == &absent);
  CHECK_FALSE(cuda_backend()->status().answers());
}
