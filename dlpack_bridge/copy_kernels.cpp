#include <dlpack_bridge/copy_kernels.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

// The loops below are written to be vectorised, which GCC leaves undone at -O2.
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

namespace dlpack_bridge::detail {
namespace {

/// An element at any address, whatever type wrote it.
template <class T>
struct [[gnu::packed, gnu::may_alias]] loose {
  T value;
};

template <class Op>
[[gnu::always_inline]] inline void each(const void* from, void* to, std::size_t count) {
  const auto* __restrict in = static_cast<const loose<typename Op::from>*>(from);
  auto* __restrict out = static_cast<loose<typename Op::to>*>(to);
  for (std::size_t i = 0; i < count; ++i) out[i].value = Op::apply(in[i].value);
}

/// The same without vectors, where an operation has a better way for single elements.
template <class Op>
[[gnu::always_inline]] inline void each_alone(const void* from, void* to, std::size_t count) {
  if constexpr (requires { Op::apply_alone(typename Op::from{}); }) {
    const auto* __restrict in = static_cast<const loose<typename Op::from>*>(from);
    auto* __restrict out = static_cast<loose<typename Op::to>*>(to);
    for (std::size_t i = 0; i < count; ++i) out[i].value = Op::apply_alone(in[i].value);
  } else {
    each<Op>(from, to, count);
  }
}

// The same loops compiled for more instructions. No fused multiply-add among them, which would round
// differently.
template <class Op>
void baseline_kernel(const void* from, void* to, std::size_t count) {
  each_alone<Op>(from, to, count);
}

template <class... Ops>
constexpr kernel_table baseline_table(operation_list<Ops...>) {
  return {&baseline_kernel<Ops>...};
}
constexpr kernel_table baseline = baseline_table(operations{});

#ifdef DLPACK_BRIDGE_X86
template <class Op>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_kernel(const void* from, void* to,
                                                     std::size_t count) {
  each_alone<Op>(from, to, count);
}

template <class Op>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel(const void* from, void* to,
                                                         std::size_t count) {
  each<Op>(from, to, count);
}

/// Asks for a line of the source ahead of its turn, which may be past its end.
[[gnu::always_inline]] inline void announce_reads(const void* at) {
  constexpr std::uintptr_t ahead = 1024;
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(at) + ahead;
  __builtin_prefetch(reinterpret_cast<const void*>(address));
}

// The forms of instructions without a mask warn of uninitialized values in GCC 12.
constexpr __mmask16 all_of_16 = 0xffff;
constexpr __mmask8 all_of_8 = 0xff;
constexpr __mmask16 first_of_16(std::size_t count) {
  return static_cast<__mmask16>((1U << count) - 1);
}

// ---- conversions that the processor has instructions for -----------------------------------------
// They round as ours but treat NaNs in another way: a group with a NaN in it goes ours. What is left
// at the end is masked, or taken together with the elements before it, which are converted a second time.

template <>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_kernel<single_to_half>(const void* from, void* to,
                                                                     std::size_t count) {
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<std::uint16_t*>(to);
  const bool announces = caches() == cache_use::announced;
  for (; count >= 16; count -= 16, in += 16, out += 16) {
    if (announces) announce_reads(in);
    const __m256 a = _mm256_loadu_ps(in), b = _mm256_loadu_ps(in + 8);
    if (_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_UNORD_Q)) != 0) [[unlikely]] {
      each<single_to_half>(in, out, 16);
      continue;
    }
    const __m128i low = _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
    const __m128i high = _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_set_m128i(high, low));
  }
  if (count == 0) return;
  if (in != from) return avx2_kernel<single_to_half>(in + count - 16, out + count - 16, 16);
  each<single_to_half>(in, out, count);
}

template <>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel<single_to_half>(const void* from, void* to,
                                                                         std::size_t count) {
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<std::uint16_t*>(to);
  const bool announces = count >= 32 && caches() == cache_use::announced;
  for (; count >= 32; count -= 32, in += 32, out += 32) {
    if (announces) announce_reads(in), announce_reads(in + 16);
    const __m512 a = _mm512_loadu_ps(in), b = _mm512_loadu_ps(in + 16);
    if (_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<single_to_half>(in, out, 32);
      continue;
    }
    const __m256i low = _mm512_maskz_cvtps_ph(all_of_16, a, _MM_FROUND_TO_NEAREST_INT);
    const __m256i high = _mm512_maskz_cvtps_ph(all_of_16, b, _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16), high);
  }
  for (std::size_t n; count > 0; count -= n, in += n, out += n) {
    n = count < 16 ? count : 16;
    const __mmask16 some = first_of_16(n);
    const __m512 a = _mm512_maskz_loadu_ps(some, in);
    if (_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<single_to_half>(in, out, n);
      continue;
    }
    const __m256i halves = _mm512_maskz_cvtps_ph(all_of_16, a, _MM_FROUND_TO_NEAREST_INT);
    _mm256_mask_storeu_epi16(out, some, halves);
  }
}

template <>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_kernel<half_to_single>(const void* from, void* to,
                                                                     std::size_t count) {
  const auto* in = static_cast<const std::uint16_t*>(from);
  auto* out = static_cast<float*>(to);
  const __m256i infinity = _mm256_set1_epi16(0x7c00);
  for (; count >= 16; count -= 16, in += 16, out += 16) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    const __m256i magnitude = _mm256_and_si256(x, _mm256_set1_epi16(0x7fff));
    if (_mm256_movemask_epi8(_mm256_cmpgt_epi16(magnitude, infinity)) != 0) [[unlikely]] {
      each<half_to_single>(in, out, 16);
      continue;
    }
    _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm256_castsi256_si128(x)));
    _mm256_storeu_ps(out + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
  }
  if (count == 0) return;
  if (in != from) return avx2_kernel<half_to_single>(in + count - 16, out + count - 16, 16);
  each<half_to_single>(in, out, count);
}

[[gnu::always_inline, gnu::target(DLPACK_BRIDGE_AVX512)]] inline __m512 singles_of_16(
    const std::uint16_t* halves) {
  const auto* const from = reinterpret_cast<const __m256i*>(halves);
  return _mm512_maskz_cvtph_ps(all_of_16, _mm256_loadu_si256(from));
}

template <>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel<half_to_single>(const void* from, void* to,
                                                                         std::size_t count) {
  const auto* in = static_cast<const std::uint16_t*>(from);
  auto* out = static_cast<float*>(to);
  for (; count >= 32; count -= 32, in += 32, out += 32) {
    const __m512 a = singles_of_16(in);
    const __m512 b = singles_of_16(in + 16);
    if (_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<half_to_single>(in, out, 32);
      continue;
    }
    _mm512_storeu_ps(out, a);
    _mm512_storeu_ps(out + 16, b);
  }
  for (std::size_t n; count > 0; count -= n, in += n, out += n) {
    n = count < 16 ? count : 16;
    const __mmask16 some = first_of_16(n);
    const __m512 a = _mm512_maskz_cvtph_ps(all_of_16, _mm256_maskz_loadu_epi16(some, in));
    if (_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<half_to_single>(in, out, n);
      continue;
    }
    _mm512_mask_storeu_ps(out, some, a);
  }
}

// The vectorised loop takes 64 bytes at a time and takes them apart; the instructions that widen while
// they load are quicker, and small pictures have fewer in a row.
template <>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_kernel<to_float<u8, float>>(const void* from,
                                                                          void* to,
                                                                          std::size_t count) {
  const auto* in = static_cast<const std::uint8_t*>(from);
  auto* out = static_cast<float*>(to);
  for (; count >= 16; count -= 16, in += 16, out += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    const __m256i low = _mm256_cvtepu8_epi32(x), high = _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8));
    _mm256_storeu_ps(out, _mm256_cvtepi32_ps(low));
    _mm256_storeu_ps(out + 8, _mm256_cvtepi32_ps(high));
  }
  each<to_float<u8, float>>(in, out, count);
}

template <>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel<to_float<u8, float>>(const void* from,
                                                                              void* to,
                                                                              std::size_t count) {
  const auto* in = static_cast<const std::uint8_t*>(from);
  auto* out = static_cast<float*>(to);
  for (; count >= 16; count -= 16, in += 16, out += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    const __m512i wide = _mm512_maskz_cvtepu8_epi32(all_of_16, x);
    _mm512_storeu_ps(out, _mm512_maskz_cvtepi32_ps(all_of_16, wide));
  }
  each<to_float<u8, float>>(in, out, count);
}

/// Reads each number once, which the vectorised loop does three times.
template <>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel<single_to_bfloat>(const void* from,
                                                                           void* to,
                                                                           std::size_t count) {
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<std::uint16_t*>(to);
  const __m512i one = _mm512_set1_epi32(1), half = _mm512_set1_epi32(0x7fff);
  const bool announces = caches() == cache_use::announced;
  for (; count >= 32; count -= 32, in += 32, out += 32) {
    if (announces) announce_reads(in), announce_reads(in + 16);
    const __m512 a = _mm512_loadu_ps(in), b = _mm512_loadu_ps(in + 16);
    if (_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<single_to_bfloat>(in, out, 32);
      continue;
    }
    __m512i low = _mm512_castps_si512(a), high = _mm512_castps_si512(b);
    const __m512i low_odd = _mm512_and_si512(_mm512_maskz_srli_epi32(all_of_16, low, 16), one);
    const __m512i high_odd = _mm512_and_si512(_mm512_maskz_srli_epi32(all_of_16, high, 16), one);
    low = _mm512_add_epi32(_mm512_add_epi32(low, half), low_odd);
    high = _mm512_add_epi32(_mm512_add_epi32(high, half), high_odd);
    const __m256i low_bits =
        _mm512_maskz_cvtepi32_epi16(all_of_16, _mm512_maskz_srli_epi32(all_of_16, low, 16));
    const __m256i high_bits =
        _mm512_maskz_cvtepi32_epi16(all_of_16, _mm512_maskz_srli_epi32(all_of_16, high, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), low_bits);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16), high_bits);
  }
  if (count == 0) return;
  if (in != from) return avx512_kernel<single_to_bfloat>(in + count - 32, out + count - 32, 32);
  each<single_to_bfloat>(in, out, count);
}

struct to_odd_single : operation<double, float> {
  [[gnu::always_inline]] static float apply(double x) { return odd_single(x); }
};

template <>
void avx2_kernel<double_to_half>(const void* from, void* to, std::size_t count) {
  constexpr std::size_t most = 128;
  const auto* in = static_cast<const std::byte*>(from);
  auto* out = static_cast<std::byte*>(to);
  float singles[most];
  for (std::size_t done = 0; done < count; done += most) {
    const std::size_t n = count - done < most ? count - done : most;
    avx2_kernel<to_odd_single>(in + done * 8, singles, n);
    avx2_kernel<single_to_half>(singles, out + done * 2, n);
  }
}

/// Rounding toward zero and setting the last bit when that was inexact is rounding to odd.
template <>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_kernel<double_to_half>(const void* from, void* to,
                                                                         std::size_t count) {
  const auto* in = static_cast<const double*>(from);
  auto* out = static_cast<std::uint16_t*>(to);
  for (; count >= 8; count -= 8, in += 8, out += 8) {
    const __m512d x = _mm512_loadu_pd(in);
    if (_mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q) != 0) [[unlikely]] {
      each<double_to_half>(in, out, 8);
      continue;
    }
    const __m256 cut =
        _mm512_maskz_cvt_roundpd_ps(all_of_8, x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __mmask8 inexact =
        _mm512_cmp_pd_mask(_mm512_maskz_cvtps_pd(all_of_8, cut), x, _CMP_NEQ_UQ);
    const __m256i bits = _mm256_castps_si256(cut);
    const __m256i odd = _mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1));
    const __m128i halves = _mm256_cvtps_ph(_mm256_castsi256_ps(odd), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), halves);
  }
  if (count == 0) return;
  if (in != from) return avx512_kernel<double_to_half>(in + count - 8, out + count - 8, 8);
  each<double_to_half>(in, out, count);
}

template <class... Ops>
constexpr kernel_table avx2_table(operation_list<Ops...>) {
  return {&avx2_kernel<Ops>...};
}

/// Looking up is faster one by one than by the gather instructions that a vectorised loop uses.
template <class Op>
inline constexpr bool looks_up = false;
template <float8_format Format>
inline constexpr bool looks_up<from_float8<Format>> = true;

template <class... Ops>
constexpr kernel_table avx512_table(operation_list<Ops...>) {
  return {(looks_up<Ops> ? &baseline_kernel<Ops> : &avx512_kernel<Ops>)...};
}
constexpr kernel_table avx2 = avx2_table(operations{});
constexpr kernel_table avx512 = avx512_table(operations{});
#endif

}  // namespace

const kernel_table& kernels_of(instruction_set set) noexcept {
#ifdef DLPACK_BRIDGE_X86
  if (set == instruction_set::avx512) return avx512;
  if (set == instruction_set::avx2) return avx2;
#endif
  static_cast<void>(set);
  return baseline;
}

}  // namespace dlpack_bridge::detail
