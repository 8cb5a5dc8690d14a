#include <dlpack_bridge/copy_transpose.hpp>

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <dlpack_bridge/copy_lanes.hpp>
#include <dlpack_bridge/copy_stream.hpp>

// The loops over the vectors of a square are written to be unrolled, which GCC leaves undone at -O2.
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

namespace dlpack_bridge::detail {
namespace {

template <extent Size>
void transpose_plainly(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                       extent js, extent ks) noexcept {
  for (extent k = 0; k < ks; ++k) {
    for (extent j = 0; j < js; ++j) {
      std::memcpy(to + k * to_pitch + j * Size, from + j * from_pitch + k * Size, Size);
    }
  }
}

#ifdef DLPACK_BRIDGE_SHUFFLES

/// From `ks` columns of the source further back: where the last square begins.
template <extent Size>
void step_back(const std::byte*& from, std::byte*& to, extent to_pitch, extent ks) noexcept {
  from -= ks * Size;
  to -= ks * to_pitch;
}

// A strip is as many rows of the source as fill one vector; it becomes a column of vectors. The last
// square of it ends where the strip ends, and may write again what the one before it wrote.
template <extent Size>
using strip_function = void (*)(const std::byte* from, extent from_pitch, std::byte* to,
                                extent to_pitch, extent ks);

template <extent Size>
void strip_of_16(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                 extent ks) {
  using lanes = lanes_of<Size, 1>;
  typename lanes::vector rows[lanes::side];
  for (extent left = ks; left > 0; left -= lanes::side, from += 16) {
    if (left < lanes::side) step_back<Size>(from, to, to_pitch, lanes::side - left);
    for (int i = 0; i < lanes::side; ++i) std::memcpy(&rows[i], from + i * from_pitch, 16);
    lanes::turn(rows);
    for (int i = 0; i < lanes::side; ++i, to += to_pitch) std::memcpy(to, &rows[i], 16);
  }
}

#ifdef DLPACK_BRIDGE_X86

template <extent Size>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void strip_of_32(const std::byte* from, extent from_pitch,
                                                     std::byte* to, extent to_pitch, extent ks) {
  using lanes = lanes_of<Size, 2>;
  typename lanes::vector rows[lanes::side];
  const auto load = [](const std::byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  };
  for (extent left = ks; left > 0; left -= lanes::side, from += 16) {
    if (left < lanes::side) step_back<Size>(from, to, to_pitch, lanes::side - left);
    for (int i = 0; i < lanes::side; ++i) {
      const std::byte* const a = from + i * from_pitch;
      const __m256i lower = _mm256_castsi128_si256(load(a));
      const __m128i upper = load(a + lanes::side * from_pitch);
      rows[i] = reinterpret_cast<typename lanes::vector>(_mm256_inserti128_si256(lower, upper, 1));
    }
    lanes::turn(rows);
    for (int i = 0; i < lanes::side; ++i, to += to_pitch) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(rows[i]));
    }
  }
}

template <extent Size, bool Streams>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void strip_of_64(const std::byte* from, extent from_pitch,
                                                       std::byte* to, extent to_pitch, extent ks) {
  using lanes = lanes_of<Size, 4>;
  typename lanes::vector rows[lanes::side];
  const extent next = lanes::side * from_pitch;
  const auto load = [](const std::byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  };
  for (extent left = ks; left > 0; left -= lanes::side, from += 16) {
    if (left < lanes::side) step_back<Size>(from, to, to_pitch, lanes::side - left);
    for (int i = 0; i < lanes::side; ++i) {
      const std::byte* const a = from + i * from_pitch;
      __m512i row = _mm512_castsi128_si512(load(a));
      row = _mm512_inserti32x4(row, load(a + next), 1);
      row = _mm512_inserti32x4(row, load(a + 2 * next), 2);
      rows[i] =
          reinterpret_cast<typename lanes::vector>(_mm512_inserti32x4(row, load(a + 3 * next), 3));
    }
    lanes::turn(rows);
    for (int i = 0; i < lanes::side; ++i, to += to_pitch) {
      store_line<Streams>(to, reinterpret_cast<__m512i>(rows[i]));
    }
  }
}

/// The same strip past the caches, but each cache line of the source is read once, which takes twice
/// as many shuffles: quicker where lines push each other out of the cache meanwhile.
template <extent Size>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void strip_by_lines(const std::byte* from, extent from_pitch,
                                                          std::byte* to, extent to_pitch,
                                                          extent ks) {
  constexpr extent side = cache_line / Size;
  __m512i lines[side];
  extent left = ks;
  for (; left >= side; left -= side, from += cache_line) {
    for (extent i = 0; i < side; ++i) lines[i] = _mm512_loadu_si512(from + i * from_pitch);
    turn_lines<Size>(lines);
    for (extent i = 0; i < side; ++i, to += to_pitch) store_line<true>(to, lines[i]);
  }
  if (left > 0) strip_of_64<Size, true>(from, from_pitch, to, to_pitch, left);
}

/// More vectors than there are registers would have to be kept for smaller elements.
template <extent Size>
strip_function<Size> streaming_strip(extent from_pitch) noexcept {
  constexpr extent one_way_of_cache = 4096;
  if constexpr (Size == 4 || Size == 8) {
    if (from_pitch % one_way_of_cache == 0) return strip_by_lines<Size>;
  }
  return strip_of_64<Size, true>;
}

#endif

template <extent Size>
void transpose_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                     extent js, extent ks) noexcept {
  constexpr extent side = 16 / Size;
  if (js < side || ks < side) {
    return transpose_plainly<Size>(from, from_pitch, to, to_pitch, js, ks);
  }
  extent j = 0;
  const auto go = [&](strip_function<Size> strip, extent rows) {
    for (; j + rows <= js; j += rows) {
      strip(from + j * from_pitch, from_pitch, to + j * Size, to_pitch, ks);
    }
  };
#ifdef DLPACK_BRIDGE_X86
  const instruction_set set = instructions();
  if (set == instruction_set::avx512) go(strip_of_64<Size, false>, 4 * side);
  if (set >= instruction_set::avx2) go(strip_of_32<Size>, 2 * side);
#endif
  go(strip_of_16<Size>, side);
  if (j == js) return;
  j = js - side;  // the last strip ends where the rows end
  go(strip_of_16<Size>, side);
}

template <extent Size>
void stream_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                  extent js, extent ks) noexcept {
#ifdef DLPACK_BRIDGE_X86
  const strip_function<Size> strip = streaming_strip<Size>(from_pitch);
  for (extent j = 0; j < js; j += cache_line / Size) {
    strip(from + j * from_pitch, from_pitch, to + j * Size, to_pitch, ks);
  }
#else
  transpose_block<Size>(from, from_pitch, to, to_pitch, js, ks);
#endif
}

#else

template <extent Size>
void transpose_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                     extent js, extent ks) noexcept {
  transpose_plainly<Size>(from, from_pitch, to, to_pitch, js, ks);
}

template <extent Size>
void stream_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                  extent js, extent ks) noexcept {
  transpose_plainly<Size>(from, from_pitch, to, to_pitch, js, ks);
}

#endif

template <class Function>
void with_size(extent itemsize, const Function& function) {
  switch (itemsize) {
    case 1: return function(std::integral_constant<extent, 1>{});
    case 2: return function(std::integral_constant<extent, 2>{});
    case 4: return function(std::integral_constant<extent, 4>{});
    case 8: return function(std::integral_constant<extent, 8>{});
    default: return function(std::integral_constant<extent, 16>{});
  }
}

}  // namespace

void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch, extent js,
               extent ks, extent itemsize) noexcept {
  with_size(itemsize, [&](auto size) {
    transpose_block<size.value>(from, from_pitch, to, to_pitch, js, ks);
  });
}

void stream_transposed(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                       extent js, extent ks, extent itemsize) noexcept {
  with_size(itemsize,
            [&](auto size) { stream_block<size.value>(from, from_pitch, to, to_pitch, js, ks); });
}

bool can_stream_transposed(const std::byte* to, extent to_pitch, extent js, extent ks,
                           extent itemsize) noexcept {
  if (caches() != cache_use::by_lines) return false;
  const auto place = static_cast<extent>(reinterpret_cast<std::uintptr_t>(to));
  const bool whole_lines = (place | to_pitch | js * itemsize) % cache_line == 0;
  return whole_lines && ks * itemsize >= 16;
}

}  // namespace dlpack_bridge::detail
