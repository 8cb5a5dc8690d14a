#include <dlpack_bridge/copy_transpose.hpp>

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <dlpack_bridge/copy_instructions.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

namespace dlpack_bridge::detail {
namespace {

/// What vectors of elements that are moved as they are are made of.
template <extent Size>
using word_of = std::conditional_t<
    Size == 1, std::uint8_t,
    std::conditional_t<Size == 2, std::uint16_t,
                       std::conditional_t<Size == 4, std::uint32_t, std::uint64_t>>>;

template <extent Size>
void transpose_plainly(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                       extent js, extent ks) noexcept {
  for (extent k = 0; k < ks; ++k) {
    for (extent j = 0; j < js; ++j) {
      std::memcpy(to + k * to_pitch + j * Size, from + j * from_pitch + k * Size, Size);
    }
  }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DLPACK_BRIDGE_SHUFFLES 1
#endif
#endif

#ifdef DLPACK_BRIDGE_SHUFFLES

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

template <extent Size>
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
      _mm512_storeu_si512(to, reinterpret_cast<__m512i>(rows[i]));
    }
  }
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
  if (set == instruction_set::avx512) go(strip_of_64<Size>, 4 * side);
  if (set >= instruction_set::avx2) go(strip_of_32<Size>, 2 * side);
#endif
  go(strip_of_16<Size>, side);
  if (j == js) return;
  j = js - side;  // the last strip ends where the rows end
  go(strip_of_16<Size>, side);
}

#else

template <extent Size>
void transpose_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                     extent js, extent ks) noexcept {
  transpose_plainly<Size>(from, from_pitch, to, to_pitch, js, ks);
}

#endif

}  // namespace

void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch, extent js,
               extent ks, extent itemsize) noexcept {
  switch (itemsize) {
    case 1: return transpose_block<1>(from, from_pitch, to, to_pitch, js, ks);
    case 2: return transpose_block<2>(from, from_pitch, to, to_pitch, js, ks);
    case 4: return transpose_block<4>(from, from_pitch, to, to_pitch, js, ks);
    case 8: return transpose_block<8>(from, from_pitch, to, to_pitch, js, ks);
    default: return transpose_block<16>(from, from_pitch, to, to_pitch, js, ks);
  }
}

}  // namespace dlpack_bridge::detail
