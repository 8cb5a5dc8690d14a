#include <dlpack_bridge/copy_widen.hpp>

#include <algorithm>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_kernels.hpp>
#include <dlpack_bridge/copy_lanes.hpp>
#include <dlpack_bridge/copy_stream.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

namespace dlpack_bridge::detail {

#ifdef DLPACK_BRIDGE_X86
namespace {

#define DLPACK_BRIDGE_INLINED gnu::always_inline, gnu::target(DLPACK_BRIDGE_AVX2)

constexpr extent from_size = 4;
constexpr extent to_size = 8;
/// Rows and columns of a square that is turned in registers.
constexpr extent side = least_widened;
constexpr extent vector_bytes = side * to_size;
constexpr extent columns_of_line = cache_line / to_size;

// The forms of instructions without a mask warn of uninitialized values in GCC 12.
constexpr __mmask8 all_of_8 = 0xff;

/// What a first-level cache holds is quicker to transpose in a buffer.
constexpr extent first_level_cache = 40960;
/// Columns taken at once: so many lines of the source stay at hand until all of each is taken.
constexpr extent most_columns = 384;

// Four elements, widened while they are loaded: that takes no shuffle, and to widen what is in a
// register takes one.

[[DLPACK_BRIDGE_INLINED]] inline __m128i four(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

[[DLPACK_BRIDGE_INLINED]] inline __m256i eight(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

struct single_to_double {
  [[DLPACK_BRIDGE_INLINED]] static inline __m256d load(const std::byte* from) {
    return _mm256_cvtps_pd(_mm_castsi128_ps(four(from)));
  }
  [[DLPACK_BRIDGE_INLINED_512]] static inline __m512d load_eight(const std::byte* from) {
    return _mm512_maskz_cvtps_pd(all_of_8, _mm256_castsi256_ps(eight(from)));
  }
};

struct int_to_double {
  [[DLPACK_BRIDGE_INLINED]] static inline __m256d load(const std::byte* from) {
    return _mm256_cvtepi32_pd(four(from));
  }
  [[DLPACK_BRIDGE_INLINED_512]] static inline __m512d load_eight(const std::byte* from) {
    return _mm512_maskz_cvtepi32_pd(all_of_8, eight(from));
  }
};

template <class Conversion>
[[DLPACK_BRIDGE_INLINED]] inline void turn_square(const std::byte* from, extent from_pitch,
                                                  std::byte* to, extent to_pitch) {
  const __m256d a = Conversion::load(from), b = Conversion::load(from + from_pitch);
  const __m256d c = Conversion::load(from + 2 * from_pitch);
  const __m256d d = Conversion::load(from + 3 * from_pitch);
  const __m256d even = _mm256_unpacklo_pd(a, b), even_after = _mm256_unpacklo_pd(c, d);
  const __m256d odd = _mm256_unpackhi_pd(a, b), odd_after = _mm256_unpackhi_pd(c, d);
  const auto row = [&](int k) { return reinterpret_cast<double*>(to + k * to_pitch); };
  _mm256_storeu_pd(row(0), _mm256_permute2f128_pd(even, even_after, 0x20));
  _mm256_storeu_pd(row(1), _mm256_permute2f128_pd(odd, odd_after, 0x20));
  _mm256_storeu_pd(row(2), _mm256_permute2f128_pd(even, even_after, 0x31));
  _mm256_storeu_pd(row(3), _mm256_permute2f128_pd(odd, odd_after, 0x31));
}

/// A square of each four of some rows, from column j on.
template <class Conversion, extent Rows>
[[DLPACK_BRIDGE_INLINED]] inline void turn(const strided_block& b, extent j) {
  for (extent k = 0; k < Rows; k += side) {
    turn_square<Conversion>(b.from + j * b.from_step + k * from_size, b.from_step,
                            b.to + k * b.to_row + j * to_size, b.to_row);
  }
}

/// Columns before the first one where a vector can be stored into one cache line in all rows.
extent columns_to_boundary(const strided_block& b) noexcept {
  const auto place = static_cast<extent>(reinterpret_cast<std::uintptr_t>(b.to) % vector_bytes);
  if (b.to_row % vector_bytes != 0) return 0;
  return (vector_bytes - place) % vector_bytes / to_size;
}

/// Asks for the line of the destination that is so many bytes further, which may be past its end. A
/// store waits for a line that is not at hand, and all stores after it wait too.
[[gnu::always_inline]] inline void announce_write(const std::byte* to, extent bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(to) + static_cast<std::uintptr_t>(bytes);
  __builtin_prefetch(reinterpret_cast<const void*>(address), 1);
}

/// All columns of the first `Rows` rows. What is no whole square is part of one that begins or ends
/// with the columns.
template <class Conversion, extent Rows>
[[gnu::target(DLPACK_BRIDGE_AVX2)]] void turn_rows(const strided_block& block) {
  const strided_block b = block;
  extent j = columns_to_boundary(b);
  if (j > 0) turn<Conversion, Rows>(b, 0);
  for (; j + columns_of_line <= b.count; j += columns_of_line) {
    const std::byte* const here = b.to + j * to_size;
    for (extent k = 0; k < Rows; ++k) announce_write(here, k * b.to_row + cache_line);
    turn<Conversion, Rows>(b, j);
    turn<Conversion, Rows>(b, j + side);
  }
  // The rows that come next.
  for (extent k = Rows; k < 2 * Rows; ++k) announce_write(b.to, k * b.to_row);
  for (; j < b.count; j += side) turn<Conversion, Rows>(b, std::min(j, b.count - side));
}

strided_block columns_of(const strided_block& b, extent begin, extent count) noexcept {
  strided_block some = b;
  some.from += begin * b.from_step;
  some.to += begin * to_size;
  some.count = count;
  return some;
}

/// Lines of the source push each other out of the cache where the distance between its rows is a
/// multiple of a large power of two: where not all that are needed fit, more of each is taken at once.
bool lines_fit(const strided_block& b) noexcept {
  const extent power_of_two = b.from_step & -b.from_step;
  return b.count * power_of_two <= first_level_cache;
}

/// All rows; the last ones end where all end.
template <class Conversion>
void turn_columns(const strided_block& block) {
  strided_block some = block;
  const auto go = [&](extent first, extent rows, widening turn_some) {
    extent k = first;
    for (; k + rows <= block.rows; k += rows) {
      some.from = block.from + k * from_size;
      some.to = block.to + k * block.to_row;
      turn_some(some);
    }
    return k;
  };
  extent k = 0;
  if (!lines_fit(block)) k = go(k, 2 * side, turn_rows<Conversion, 2 * side>);
  k = go(k, side, turn_rows<Conversion, side>);
  if (k < block.rows) go(block.rows - side, side, turn_rows<Conversion, side>);
}

template <class Conversion>
void widen(const strided_block& block) {
  const extent parts = (block.count + most_columns - 1) / most_columns;
  for (extent i = 0; i < parts; ++i) {
    const extent begin = block.count * i / parts, end = block.count * (i + 1) / parts;
    turn_columns<Conversion>(columns_of(block, begin, end - begin));
  }
}

#ifdef DLPACK_BRIDGE_SHUFFLES

// ---- past the caches, in whole lines -------------------------------------------------------------

/// Rows and columns of a square of which each row is one.
constexpr extent side_of_lines = columns_of_line;
/// Columns and rows taken at once; of each column a line of the source.
constexpr extent streamed_columns = 4 * side_of_lines;
constexpr extent streamed_rows = cache_line / from_size;

template <class Conversion>
[[gnu::target(DLPACK_BRIDGE_AVX512)]] void stream_square(const std::byte* from, extent from_pitch,
                                                         std::byte* to, extent to_pitch) {
  __m512i lines[side_of_lines];
  for (extent i = 0; i < side_of_lines; ++i) {
    lines[i] = _mm512_castpd_si512(Conversion::load_eight(from + i * from_pitch));
  }
  turn_lines<to_size>(lines);
  for (extent i = 0; i < side_of_lines; ++i) store_line<true>(to + i * to_pitch, lines[i]);
}

/// The squares of some columns, in the rows [k, end); the last ones end with the block. Asks for lines
/// of the source that come next: they lie far apart, which the processor does not foresee.
template <class Conversion>
void stream_tile(const strided_block& b, extent j, extent columns, extent k, extent end) {
  constexpr std::uintptr_t ahead = 2 * cache_line;
  const std::byte* const here = b.from + j * b.from_step + k * from_size;
  for (extent i = 0; i < columns; ++i) {
    const auto line = reinterpret_cast<std::uintptr_t>(here + i * b.from_step);
    __builtin_prefetch(reinterpret_cast<const void*>(line + ahead));
  }
  for (extent i = j; i < j + columns; i += side_of_lines) {
    for (extent row = k; row < end; row += side_of_lines) {
      const extent first = std::min(row, b.rows - side_of_lines);
      stream_square<Conversion>(b.from + i * b.from_step + first * from_size, b.from_step,
                                b.to + i * to_size + first * b.to_row, b.to_row);
    }
  }
}

/// Columns that are no whole lines at both ends go through the caches, with some of their neighbours.
template <class Conversion>
void stream_widened(const strided_block& b) {
  const extent place = place_in_line(b.to);
  if (place % to_size != 0 || b.rows < side_of_lines || b.count < 2 * columns_of_line) {
    return widen<Conversion>(b);
  }
  const extent begin = (cache_line - place) % cache_line / to_size;
  const extent end = b.count - (b.count - begin) % columns_of_line;
  if (begin > 0) widen<Conversion>(columns_of(b, 0, columns_of_line));
  for (extent j = begin; j < end; j += streamed_columns) {
    const extent columns = std::min(streamed_columns, end - j);
    for (extent k = 0; k < b.rows; k += streamed_rows) {
      stream_tile<Conversion>(b, j, columns, k, std::min(k + streamed_rows, b.rows));
    }
  }
  if (end < b.count) widen<Conversion>(columns_of(b, b.count - columns_of_line, columns_of_line));
}

#endif

template <class Conversion>
widening widening_of(bool streams) noexcept {
#ifdef DLPACK_BRIDGE_SHUFFLES
  if (streams) return stream_widened<Conversion>;
#else
  static_cast<void>(streams);
#endif
  return widen<Conversion>;
}

}  // namespace

widening widening_for(const strided_block& shape, std::uint8_t operation, bool streams) noexcept {
  const bool fits = shape.rows * shape.count * (from_size + to_size) <= first_level_cache;
  if (fits || shape.from_row != from_size || shape.to_step != to_size) return nullptr;
  if (instructions() < instruction_set::avx2) return nullptr;
  if (streams && (caches() != cache_use::by_lines || shape.to_row % cache_line != 0)) {
    return nullptr;
  }
  switch (operation) {
    case id_of_operation<to_float<float, double>>: return widening_of<single_to_double>(streams);
    case id_of_operation<to_float<i32, double>>: return widening_of<int_to_double>(streams);
    default: return nullptr;
  }
}

#else

widening widening_for(const strided_block&, std::uint8_t, bool) noexcept { return nullptr; }

#endif

}  // namespace dlpack_bridge::detail
