#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_stream.hpp>
#include <dlpack_bridge/layout.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

// Rows of a square become its columns, in registers.
#ifdef DLPACK_BRIDGE_SHUFFLES

namespace dlpack_bridge::detail {

/// What vectors of elements that are moved as they are are made of.
template <extent Size>
using word_of = std::conditional_t<
    Size == 1, std::uint8_t,
    std::conditional_t<Size == 2, std::uint16_t,
                       std::conditional_t<Size == 4, std::uint32_t, std::uint64_t>>>;

/// Vectors of one or more lanes of 16 bytes, each of which holds a part of another row.
template <extent Size, int Lanes>
struct lanes_of {
  using word = word_of<Size>;
  static constexpr int words = 16 / sizeof(word);
  static constexpr int side = 16 / Size;                // rows and columns of a square
  static constexpr extent rows = extent{Lanes} * side;  // of the source that make one vector
  using vector [[gnu::vector_size(16 * Lanes)]] = word;
  using order = std::make_integer_sequence<int, words * Lanes>;

  /// The lower halves of each lane of two vectors, word by word in turn; with `First` = words / 2
  /// the upper ones.
  template <int First, int... I>
  [[gnu::always_inline]] static void interleave(vector& out, const vector& a, const vector& b,
                                                std::integer_sequence<int, I...>) {
    constexpr int all = sizeof...(I);
    out =
        __builtin_shufflevector(a, b, (I / words * words + First + I % words / 2 + I % 2 * all)...);
  }

  /// Interleaving the first half of the rows with the second one turns the bits of the position by
  /// one; after log2(side) rounds rows have become columns.
  [[gnu::always_inline]] static void turn(vector (&rows)[side]) {
    vector mixed[side];
    for (int round = 1; round < side; round *= 2) {
      for (int i = 0; i < side / 2; ++i) {
        interleave<0>(mixed[2 * i], rows[i], rows[i + side / 2], order{});
        interleave<words / 2>(mixed[2 * i + 1], rows[i], rows[i + side / 2], order{});
      }
      for (int i = 0; i < side; ++i) rows[i] = mixed[i];
    }
  }
};

#ifdef DLPACK_BRIDGE_X86

#define DLPACK_BRIDGE_INLINED_512 gnu::always_inline, gnu::target(DLPACK_BRIDGE_AVX512)

/// Through the caches or past them; then `to` is the start of a cache line.
template <bool Streams>
[[DLPACK_BRIDGE_INLINED_512]] inline void store_line(std::byte* to, __m512i line) {
  if constexpr (Streams) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), line);
  } else {
    _mm512_storeu_si512(to, line);
  }
}

/// The lanes 0 and 2 of two vectors, or 1 and 3. The forms of instructions without a mask warn of
/// uninitialized values in GCC 12.
[[DLPACK_BRIDGE_INLINED_512]] inline __m512i even_lanes(__m512i a, __m512i b) {
  return _mm512_maskz_shuffle_i32x4(0xffff, a, b, 0x88);
}
[[DLPACK_BRIDGE_INLINED_512]] inline __m512i odd_lanes(__m512i a, __m512i b) {
  return _mm512_maskz_shuffle_i32x4(0xffff, a, b, 0xdd);
}

/// Makes vectors of the first lanes of four vectors, of their second ones, and so on.
[[DLPACK_BRIDGE_INLINED_512]] inline void turn_lanes(__m512i& a, __m512i& b, __m512i& c,
                                                     __m512i& d) {
  const __m512i ab_even = even_lanes(a, b), ab_odd = odd_lanes(a, b);
  const __m512i cd_even = even_lanes(c, d), cd_odd = odd_lanes(c, d);
  a = even_lanes(ab_even, cd_even);
  b = even_lanes(ab_odd, cd_odd);
  c = odd_lanes(ab_even, cd_even);
  d = odd_lanes(ab_odd, cd_odd);
}

/// As many lines as there are elements in one of them: their columns become lines.
template <extent Size>
[[DLPACK_BRIDGE_INLINED_512]] inline void turn_lines(__m512i (&lines)[cache_line / Size]) {
  using lanes = lanes_of<Size, 4>;
  constexpr int side = lanes::side;
  typename lanes::vector rows[side];
  for (__m512i* group = lines; group < lines + 4 * side; group += side) {
    for (int i = 0; i < side; ++i) rows[i] = reinterpret_cast<typename lanes::vector>(group[i]);
    lanes::turn(rows);
    for (int i = 0; i < side; ++i) group[i] = reinterpret_cast<__m512i>(rows[i]);
  }
  for (int i = 0; i < side; ++i) {
    turn_lanes(lines[i], lines[side + i], lines[2 * side + i], lines[3 * side + i]);
  }
}

#endif

}  // namespace dlpack_bridge::detail

#endif
