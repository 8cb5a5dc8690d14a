#include <dlpack_bridge/copy_shuffles.hpp>

#include <cstdint>
#include <cstring>

#include <dlpack_bridge/copy_instructions.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

// The loops below are written to be vectorised, which GCC leaves undone at -O2.
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

namespace dlpack_bridge::detail {
namespace {

template <class T>
struct [[gnu::packed, gnu::may_alias]] loose {
  T value;
};

template <class T>
[[gnu::always_inline]] inline const loose<T>* row_of(const std::byte* p) {
  return reinterpret_cast<const loose<T>*>(p);
}
template <class T>
[[gnu::always_inline]] inline loose<T>* row_of(std::byte* p) {
  return reinterpret_cast<loose<T>*>(p);
}

template <class T, extent Step>
struct stepping {
  [[gnu::always_inline]] static void run(const std::byte* from, extent, std::byte* to, extent,
                                         std::size_t count) {
    const auto* __restrict in = row_of<T>(from);
    auto* __restrict out = row_of<T>(to);
    for (extent i = 0; i < static_cast<extent>(count); ++i) out[i].value = in[i * Step].value;
  }
};

template <class T>
struct filling {
  [[gnu::always_inline]] static void run(const std::byte* from, extent, std::byte* to, extent,
                                         std::size_t count) {
    const T value = row_of<T>(from)->value;
    auto* out = row_of<T>(to);
    for (std::size_t i = 0; i < count; ++i) out[i].value = value;
  }
};

template <class T, int Rows>
struct splitting {
  [[gnu::always_inline]] static void run(const std::byte* from, extent, std::byte* to,
                                         extent to_row, std::size_t count) {
    const auto* __restrict in = row_of<T>(from);
    auto* __restrict a = row_of<T>(to);
    auto* __restrict b = row_of<T>(to + to_row);
    auto* __restrict c = row_of<T>(to + (Rows > 2 ? 2 : 0) * to_row);
    auto* __restrict d = row_of<T>(to + (Rows > 3 ? 3 : 0) * to_row);
    for (std::size_t i = 0; i < count; ++i) {
      a[i].value = in[Rows * i].value;
      b[i].value = in[Rows * i + 1].value;
      if constexpr (Rows > 2) c[i].value = in[Rows * i + 2].value;
      if constexpr (Rows > 3) d[i].value = in[Rows * i + 3].value;
    }
  }
};

template <class T, int Rows>
struct joining {
  [[gnu::always_inline]] static void run(const std::byte* from, extent from_row, std::byte* to,
                                         extent, std::size_t count) {
    const auto* a = row_of<T>(from);
    const auto* b = row_of<T>(from + from_row);
    const auto* c = row_of<T>(from + (Rows > 2 ? 2 : 0) * from_row);
    const auto* d = row_of<T>(from + (Rows > 3 ? 3 : 0) * from_row);
    auto* __restrict out = row_of<T>(to);
    for (std::size_t i = 0; i < count; ++i) {
      out[Rows * i].value = a[i].value;
      out[Rows * i + 1].value = b[i].value;
      if constexpr (Rows > 2) out[Rows * i + 2].value = c[i].value;
      if constexpr (Rows > 3) out[Rows * i + 3].value = d[i].value;
    }
  }
};

template <class Move>
void plain_shuffle(const std::byte* from, extent from_row, std::byte* to, extent to_row,
                   std::size_t count) {
  Move::run(from, from_row, to, to_row, count);
}

#ifdef DLPACK_BRIDGE_X86
template <class Move>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_shuffle(const std::byte* from, extent from_row,
                                                      std::byte* to, extent to_row,
                                                      std::size_t count) {
  Move::run(from, from_row, to, to_row, count);
}

// ---- the pixels of pictures ----------------------------------------------------------------------

/// Where the bytes of a plane are in a third of 16 pixels; the others become 0.
struct picks {
  constexpr picks(int plane, int third) {
    for (int i = 0; i < 16; ++i) {
      const int place = 3 * i + plane - 16 * third;
      places[i] = static_cast<std::uint8_t>(place >= 0 && place < 16 ? place : 0x80);
    }
  }
  alignas(16) std::uint8_t places[16]{};
};

template <int Plane, int Third>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] __m128i picked(__m128i third) noexcept {
  static constexpr picks order(Plane, Third);
  const auto* const places = reinterpret_cast<const __m128i*>(order.places);
  return _mm_shuffle_epi8(third, _mm_load_si128(places));
}

template <int Plane>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] __m128i plane_of(__m128i a, __m128i b, __m128i c) noexcept {
  return _mm_or_si128(_mm_or_si128(picked<Plane, 0>(a), picked<Plane, 1>(b)), picked<Plane, 2>(c));
}

[[gnu::target(DLPACK_BRIDGE_AVX2)]] void split_16_pixels(const std::byte* from, std::byte* to,
                                                         extent to_row) noexcept {
  const auto* const in = reinterpret_cast<const __m128i*>(from);
  const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1), c = _mm_loadu_si128(in + 2);
  const auto put = [&](int plane) { return reinterpret_cast<__m128i*>(to + plane * to_row); };
  _mm_storeu_si128(put(0), plane_of<0>(a, b, c));
  _mm_storeu_si128(put(1), plane_of<1>(a, b, c));
  _mm_storeu_si128(put(2), plane_of<2>(a, b, c));
}

/// What is left after the groups of the vectorised loop would go byte by byte. The last 16 pixels end
/// where all end.
template <>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void avx2_shuffle<splitting<std::uint8_t, 3>>(
    const std::byte* from, extent from_row, std::byte* to, extent to_row, std::size_t count) {
  constexpr std::size_t group = 16;
  const std::size_t vectors = count < group ? count : count / 32 * 32;
  splitting<std::uint8_t, 3>::run(from, from_row, to, to_row, vectors);
  for (std::size_t i = vectors; i < count; i += group) {
    const std::size_t at = i < count - group ? i : count - group;
    split_16_pixels(from + 3 * at, to + at, to_row);
  }
}

/// Vectors that straddle cache lines take twice as long to store: only the first and the last one may.
template <class T>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void avx512_fill(const std::byte* from, extent from_row,
                                                       std::byte* to, extent to_row,
                                                       std::size_t count) {
  using vector [[gnu::vector_size(64)]] = T;
  const auto place = reinterpret_cast<std::uintptr_t>(to);
  if (count < sizeof(vector) / sizeof(T) || place % sizeof(T) != 0) {
    return filling<T>::run(from, from_row, to, to_row, count);
  }
  const vector all = vector{} + row_of<T>(from)->value;
  std::byte* const last = to + count * sizeof(T) - sizeof(vector);
  std::memcpy(to, &all, sizeof(vector));
  to += sizeof(vector) - place % sizeof(vector);
  for (; to < last; to += sizeof(vector)) std::memcpy(to, &all, sizeof(vector));
  std::memcpy(last, &all, sizeof(vector));
}
#endif

template <class T>
shuffle best_fill() noexcept {
#ifdef DLPACK_BRIDGE_X86
  if (instructions() == instruction_set::avx512) return avx512_fill<T>;
  if (instructions() == instruction_set::avx2) return avx2_shuffle<filling<T>>;
#endif
  return plain_shuffle<filling<T>>;
}

template <class Move>
shuffle best_of() noexcept {
#ifdef DLPACK_BRIDGE_X86
  if (instructions() >= instruction_set::avx2) return avx2_shuffle<Move>;
#endif
  return plain_shuffle<Move>;
}

template <class T>
shuffle of_type(pattern p) noexcept {
  switch (p) {
    case pattern::reverse: return best_of<stepping<T, -1>>();
    case pattern::every2: return best_of<stepping<T, 2>>();
    case pattern::every3: return best_of<stepping<T, 3>>();
    case pattern::every4: return best_of<stepping<T, 4>>();
    case pattern::fill: return best_fill<T>();
    case pattern::split2: return best_of<splitting<T, 2>>();
    case pattern::split3: return best_of<splitting<T, 3>>();
    case pattern::split4: return best_of<splitting<T, 4>>();
    case pattern::join2: return best_of<joining<T, 2>>();
    case pattern::join3: return best_of<joining<T, 3>>();
    case pattern::join4: return best_of<joining<T, 4>>();
  }
  return nullptr;
}

}  // namespace

shuffle shuffle_for(pattern p, extent itemsize) noexcept {
  switch (itemsize) {
    case 1: return of_type<std::uint8_t>(p);
    case 2: return of_type<std::uint16_t>(p);
    case 4: return of_type<std::uint32_t>(p);
    case 8: return of_type<std::uint64_t>(p);
    default: return nullptr;
  }
}

}  // namespace dlpack_bridge::detail
