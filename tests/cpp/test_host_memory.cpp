#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <string>

#ifdef __linux__
#include <sys/resource.h>
#endif

#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include <dlpack_bridge/host_memory.hpp>

using dlpack_bridge::detail::allocate_host_memory;
using dlpack_bridge::detail::host_memory;

namespace {

struct freed {
  void operator()(void* start) const { std::free(start); }
};
using holder = std::unique_ptr<void, freed>;

}  // namespace

TEST_CASE("the head is at the start and the elements after it, aligned", "[host_memory]") {
  for (std::size_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
    for (const std::size_t head : {0, 1, 168}) {
      const host_memory memory = allocate_host_memory(head, 100, alignment);
      const holder kept(memory.start);
      CHECK(reinterpret_cast<std::uintptr_t>(memory.elements) % alignment == 0);
      CHECK(static_cast<std::byte*>(memory.elements) - static_cast<std::byte*>(memory.start) >=
            static_cast<std::ptrdiff_t>(head));
      std::memset(memory.start, 1, head);
      std::memset(memory.elements, 2, 100);
    }
  }
}

TEST_CASE("too many bytes are bad_alloc", "[host_memory][error]") {
  CHECK_THROWS_AS(allocate_host_memory(0, std::size_t{1} << 62, 64), std::bad_alloc);
}

#if defined(DLPACK_BRIDGE_FAILING_ALLOCATIONS) && defined(__linux__)
TEST_CASE("memory that was let go serves the next request of its size", "[host_memory]") {
  const auto page_faults = [] {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<std::size_t>(used.ru_minflt);
  };
  for (const std::size_t bytes : {std::size_t{1} << 20, (std::size_t{1} << 20) + 4096}) {
    holder held;  // as when a loop replaces its result
    std::size_t before = 0;
    for (int i = 0; i < 40; ++i) {
      if (i == 8) before = page_faults();
      const host_memory memory = allocate_host_memory(0, bytes, 64);
      std::memset(memory.elements, 1, bytes);
      held.reset(memory.start);
    }
    CHECK(page_faults() - before < bytes / 4096);  // of 32 times as many pages
  }
}

TEST_CASE("for many bytes the kernel is asked for large pages", "[host_memory]") {
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled")) SKIP("it has none");
  constexpr std::size_t bytes = std::size_t{1} << 26;
  const host_memory memory = allocate_host_memory(0, bytes, 64);
  const holder kept(memory.start);
  const auto middle = reinterpret_cast<std::uintptr_t>(memory.elements) + bytes / 2;
  bool inside = false, asked = false;
  std::ifstream maps("/proc/self/smaps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &begin, &end) == 2) {
      inside = begin <= middle && middle < end;
    }
    if (inside && line.starts_with("VmFlags:")) asked = line.find(" hg") != std::string::npos;
  }
  CHECK(asked);
}
#endif
