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

namespace dlpack_bridge::detail {

enum class instruction_set : std::uint8_t { baseline, avx2, avx512 };

/// True when this processor and this build have it.
bool is_supported(instruction_set set) noexcept;

/// What copies that begin now use: the best one supported unless `limit_instructions` said less.
instruction_set instructions() noexcept;

/// From now on copies use at most this set, so that tests see each of them on one processor.
void limit_instructions(instruction_set most) noexcept;

}  // namespace dlpack_bridge::detail
