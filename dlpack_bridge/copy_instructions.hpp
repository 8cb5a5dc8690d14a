#pragma once

#include <cstdint>

// One binary for every processor: what is worth it is compiled for several sets of instructions,
// and the processor's best one is taken. All give the same bits.
#if defined(__x86_64__) && defined(__GNUC__)
#define DLPACK_BRIDGE_X86 1
#define DLPACK_BRIDGE_AVX2 "avx2,f16c"
#ifdef __clang__
#define DLPACK_BRIDGE_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,f16c"
#else
#define DLPACK_BRIDGE_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,f16c,prefer-vector-width=512"
#endif
#endif

// Whether the compiler shuffles vectors in any order.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DLPACK_BRIDGE_SHUFFLES 1
#endif
#endif

namespace dlpack_bridge::detail {

enum class instruction_set : std::uint8_t { baseline, avx2, avx512 };

/// True when this processor and this build have it.
bool is_supported(instruction_set set) noexcept;

/// What copies that begin now use: the best one supported unless `limit_instructions` said less.
instruction_set instructions() noexcept;

/// From now on copies use at most this set, so that tests see each of them on one processor.
void limit_instructions(instruction_set most) noexcept;

/// How copies go about the caches. That differs by the maker of the processor more than by its
/// instructions; docs/performance.md says what was measured, and on which.
enum class cache_use : std::uint8_t {
  plain,      ///< as the processor does it by itself: AMD's without AVX-512
  announced,  ///< Intel's, and all that are not known. Asks for the lines of long rows ahead of their
              ///< turn; large results go past the caches in pieces, to several places in turn.
  by_lines,  ///< AMD's with AVX-512. Asks for the lines of transposed sources only; large results go
             ///< past the caches in whole lines, one after the other.
};

/// What copies that begin now do.
cache_use caches() noexcept;

/// From now on copies do this as far as the instructions allow it, so that tests see each on one
/// processor.
void assume_caches(cache_use use) noexcept;

}  // namespace dlpack_bridge::detail
