#include <dlpack_bridge/copy_widen.hpp>

#include <algorithm>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_kernels.hpp>
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

/// What a first-level cache holds is quicker to transpose in a buffer.
constexpr extent first_level_cache = 40960;
/// Columns taken at once: so many lines of the source stay at hand until all of each is taken.
constexpr extent most_columns = 384;

// Four elements, widened while they are loaded: that takes no shuffle, and to widen what is in a
// register takes one.

[[DLPACK_BRIDGE_INLINED]] inline __m128i four(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

struct single_to_double {
  [[DLPACK_BRIDGE_INLINED]] static inline __m256d load(const std::byte* from) {
    return _mm256_cvtps_pd(_mm_castsi128_ps(four(from)));
  }
};

struct int_to_double {
  [[DLPACK_BRIDGE_INLINED]] static inline __m256d load(const std::byte* from) {
    return _mm256_cvtepi32_pd(four(from));
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
  strided_block part = block;
  for (extent i = 0; i < parts; ++i) {
    const extent begin = block.count * i / parts, end = block.count * (i + 1) / parts;
    part.from = block.from + begin * block.from_step;
    part.to = block.to + begin * to_size;
    part.count = end - begin;
    turn_columns<Conversion>(part);
  }
}

}  // namespace

widening widening_for(const strided_block& shape, std::uint8_t operation) noexcept {
  const bool fits = shape.rows * shape.count * (from_size + to_size) <= first_level_cache;
  if (fits || shape.from_row != from_size || shape.to_step != to_size) return nullptr;
  if (instructions() < instruction_set::avx2) return nullptr;
  switch (operation) {
    case id_of_operation<to_float<float, double>>: return widen<single_to_double>;
    case id_of_operation<to_float<i32, double>>: return widen<int_to_double>;
    default: return nullptr;
  }
}

#else

widening widening_for(const strided_block&, std::uint8_t) noexcept { return nullptr; }

#endif

}  // namespace dlpack_bridge::detail
