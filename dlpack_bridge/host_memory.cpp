#include <dlpack_bridge/host_memory.hpp>

#include <cstdint>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace dlpack_bridge::detail {
namespace {

std::uintptr_t round_up(std::uintptr_t n, std::uintptr_t unit) noexcept {
  return (n + unit - 1) & ~(unit - 1);
}

/// Pages of 2 MB, where the kernel gives them to who asks: the first touch of so much memory takes
/// longer than the copy when it is made in pages of 4 KB.
void ask_for_large_pages(void* memory, std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::size_t worth_asking = std::size_t{1} << 22;
  constexpr std::uintptr_t page = 1 << 16;  // the largest one that Linux has
  if (bytes < worth_asking) return;
  const std::uintptr_t begin = round_up(reinterpret_cast<std::uintptr_t>(memory), page);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(memory) + bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice, no more
#else
  static_cast<void>(memory), static_cast<void>(bytes);
#endif
}

}  // namespace

// Not aligned_alloc: glibc cuts its blocks out of larger ones, and what is freed seldom fits the next
// request of the same size. The heap then grows and shrinks, page by page, with every copy.
host_memory allocate_host_memory(std::size_t head, std::size_t bytes, std::size_t alignment) {
  void* const start = std::malloc(head + alignment - 1 + bytes);
  if (start == nullptr) throw std::bad_alloc();
  ask_for_large_pages(start, head + alignment - 1 + bytes);
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(start) + head;
  return {start, reinterpret_cast<void*>(round_up(first, alignment))};
}

}  // namespace dlpack_bridge::detail
