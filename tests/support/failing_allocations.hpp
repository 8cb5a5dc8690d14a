#pragma once

// Lets one allocation fail, or counts them: malloc and aligned_alloc of the test executable, which
// operator new uses too. Include it in one file of an executable. Sanitizers bring a malloc of
// their own, and then DLPACK_BRIDGE_FAILING_ALLOCATIONS is not defined.

#if defined(__has_feature)
#define DLPACK_BRIDGE_HAS_FEATURE(x) __has_feature(x)
#else
#define DLPACK_BRIDGE_HAS_FEATURE(x) 0
#endif

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !DLPACK_BRIDGE_HAS_FEATURE(address_sanitizer) && !DLPACK_BRIDGE_HAS_FEATURE(thread_sanitizer)
#define DLPACK_BRIDGE_FAILING_ALLOCATIONS 1

#include <cstddef>

namespace allocations {

inline thread_local int made = 0;
inline thread_local int failing = -1;  // the number of the one that fails

/// While it lives, the allocation with this number (0 is the next one) of this thread fails.
class failure {
 public:
  explicit failure(int number) {
    made = 0;
    failing = number;
  }
  ~failure() { failing = -1; }
  failure(const failure&) = delete;
  failure& operator=(const failure&) = delete;
  bool happened() const { return made > failing; }
};

}  // namespace allocations

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

__attribute__((visibility("default"))) void* malloc(std::size_t bytes) noexcept {
  return allocations::made++ == allocations::failing ? nullptr : __libc_malloc(bytes);
}
__attribute__((visibility("default"))) void* aligned_alloc(std::size_t alignment,
                                                           std::size_t bytes) noexcept {
  if (allocations::made++ == allocations::failing) return nullptr;
  return __libc_memalign(alignment, bytes);
}
}

#endif

/// Under ASan and TSan an allocation that cannot be served gives null, as malloc does.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}
