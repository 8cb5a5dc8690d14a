#pragma once

#include <cstdint>

#include <dlpack_bridge/copy_instructions.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

namespace dlpack_bridge::detail {

/// While it lives this thread rounds to nearest and keeps subnormal numbers, whatever was set before
/// (torch.set_flush_denormal, fesetround): the threads of one copy have to agree.
class plain_arithmetic {
 public:
#if defined(DLPACK_BRIDGE_X86)
  plain_arithmetic() noexcept : before_(_mm_getcsr()) {
    if ((before_ & ~flags) != plain) _mm_setcsr(plain);
  }
  ~plain_arithmetic() {
    if ((before_ & ~flags) != plain) _mm_setcsr(before_);
  }

 private:
  static constexpr unsigned flags = 0x3f, plain = 0x1f80;  // all exceptions masked, nothing else
  unsigned before_;
#elif defined(__aarch64__) && defined(__GNUC__)
  plain_arithmetic() noexcept {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    if (before_ != 0) set(0);
  }
  ~plain_arithmetic() {
    if (before_ != 0) set(before_);
  }

 private:
  static void set(std::uint64_t value) noexcept { __asm__ volatile("msr fpcr, %0" ::"r"(value)); }
  std::uint64_t before_;
#else
  plain_arithmetic() noexcept {}
  ~plain_arithmetic() {}
#endif

 public:
  plain_arithmetic(const plain_arithmetic&) = delete;
  plain_arithmetic& operator=(const plain_arithmetic&) = delete;
};

}  // namespace dlpack_bridge::detail
