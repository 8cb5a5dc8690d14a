#include <dlpack_bridge/copy_move.hpp>

#include <cstdlib>
#include <cstring>



#include <cstddef>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// Moves elements of 1, 2, 4 or 8 bytes in a pattern that vector instructions know. `from_row` and
/// `to_row` are the bytes between the rows that a pattern has; `count` is the length of a row.
using shuffle = void (*)(const std::byte* from, extent from_row, std::byte* to, extent to_row,
                         std::size_t count);

/// Patterns, by the name of what they do to a row.
enum class pattern : unsigned char {
  reverse,  ///< to[i] = from[-i]
  skip,     ///< to[i] = from[2 * i]
  fill,     ///< to[i] = from[0]
  split2,   ///< to[row][i] = from[2 * i + row]: pixels become planes
  split3,
  split4,
  join2,    ///< to[2 * i + row] = from[row][i]: planes become pixels
  join3,
  join4,
};

/// Null for other sizes of elements.
shuffle shuffle_for(pattern p, extent itemsize) noexcept;

}  // namespace dlpack_bridge::detail

#include <cstdint>

#include <dlpack_bridge/copy_kernels.hpp>

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

#ifdef __x86_64__
template <class Move>
[[gnu::target("avx2")]] void avx2_shuffle(const std::byte* from, extent from_row, std::byte* to,
                                          extent to_row, std::size_t count) {
  Move::run(from, from_row, to, to_row, count);
}
#endif

template <class Move>
shuffle best_of() noexcept {
#ifdef __x86_64__
  if (is_supported(instruction_set::avx2)) return avx2_shuffle<Move>;
#endif
  return plain_shuffle<Move>;
}

template <class T>
shuffle of_type(pattern p) noexcept {
  switch (p) {
    case pattern::reverse: return best_of<stepping<T, -1>>();
    case pattern::skip: return best_of<stepping<T, 2>>();
    case pattern::fill: return best_of<filling<T>>();
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

#include <cstddef>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// to[k][j] = from[j][k] for elements of 1, 2, 4 or 8 bytes that lie side by side along k in the
/// source and along j in the destination; the pitches are bytes from one row to the next. Works in
/// registers on squares of 16 bytes a side; the caller picks blocks that suit the caches.
void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
               extent js, extent ks, extent itemsize) noexcept;

}  // namespace dlpack_bridge::detail

#include <cstdint>
#include <cstring>
#include <utility>

namespace dlpack_bridge::detail {
namespace {

template <class T>
void transpose_plainly(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                       extent js, extent ks) noexcept {
  constexpr extent size = sizeof(T);
  for (extent k = 0; k < ks; ++k) {
    for (extent j = 0; j < js; ++j) {
      std::memcpy(to + k * to_pitch + j * size, from + j * from_pitch + k * size, size);
    }
  }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DLPACK_BRIDGE_SHUFFLES 1
#endif
#endif

#ifdef DLPACK_BRIDGE_SHUFFLES

template <class T>
struct sixteen_bytes {
  static constexpr int size = 16 / sizeof(T);
  using vector [[gnu::vector_size(16)]] = T;
};

/// The lower halves of two vectors, lane by lane in turn; with `First` = size / 2 the upper ones.
template <class T, int First, int... I>
[[gnu::always_inline]] inline typename sixteen_bytes<T>::vector interleaved(
    typename sixteen_bytes<T>::vector a, typename sixteen_bytes<T>::vector b,
    std::integer_sequence<int, I...>) {
  constexpr int size = sixteen_bytes<T>::size;
  return __builtin_shufflevector(a, b, (First + I / 2 + (I % 2) * size)...);
}

/// Interleaving the first half of the rows with the second one turns the bits of the position by
/// one; after log2(size) rounds rows have become columns.
template <class T>
[[gnu::always_inline]] inline void transpose_square(const std::byte* from, extent from_pitch,
                                                    std::byte* to, extent to_pitch) {
  constexpr int size = sixteen_bytes<T>::size;
  constexpr std::make_integer_sequence<int, size> lanes;
  typename sixteen_bytes<T>::vector rows[size], mixed[size];
  for (int i = 0; i < size; ++i) std::memcpy(&rows[i], from + i * from_pitch, 16);
  for (int round = 1; round < size; round *= 2) {
    for (int i = 0; i < size / 2; ++i) {
      mixed[2 * i] = interleaved<T, 0>(rows[i], rows[i + size / 2], lanes);
      mixed[2 * i + 1] = interleaved<T, size / 2>(rows[i], rows[i + size / 2], lanes);
    }
    for (int i = 0; i < size; ++i) rows[i] = mixed[i];
  }
  for (int i = 0; i < size; ++i) std::memcpy(to + i * to_pitch, &rows[i], 16);
}

template <class T>
void transpose_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                     extent js, extent ks) noexcept {
  constexpr extent size = sizeof(T);
  constexpr extent side = sixteen_bytes<T>::size;
  const extent whole_js = js - js % side, whole_ks = ks - ks % side;
  for (extent j = 0; j < whole_js; j += side) {
    for (extent k = 0; k < whole_ks; k += side) {
      transpose_square<T>(from + j * from_pitch + k * size, from_pitch,
                          to + k * to_pitch + j * size, to_pitch);
    }
  }
  transpose_plainly<T>(from + whole_ks * size, from_pitch, to + whole_ks * to_pitch, to_pitch,
                       whole_js, ks - whole_ks);
  transpose_plainly<T>(from + whole_js * from_pitch, from_pitch, to + whole_js * size, to_pitch,
                       js - whole_js, ks);
}

#else

template <class T>
void transpose_block(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                     extent js, extent ks) noexcept {
  transpose_plainly<T>(from, from_pitch, to, to_pitch, js, ks);
}

#endif

}  // namespace

void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
               extent js, extent ks, extent itemsize) noexcept {
  switch (itemsize) {
    case 1: return transpose_block<std::uint8_t>(from, from_pitch, to, to_pitch, js, ks);
    case 2: return transpose_block<std::uint16_t>(from, from_pitch, to, to_pitch, js, ks);
    case 4: return transpose_block<std::uint32_t>(from, from_pitch, to, to_pitch, js, ks);
    default: return transpose_block<std::uint64_t>(from, from_pitch, to, to_pitch, js, ks);
  }
}

}  // namespace dlpack_bridge::detail

namespace dlpack_bridge::detail {
namespace {

void move_dense_rows(const strided_block& b, extent itemsize) {
  const auto bytes = static_cast<std::size_t>(b.count * itemsize);
  for (extent row = 0; row < b.rows; ++row) {
    std::memcpy(b.to + row * b.to_row, b.from + row * b.from_row, bytes);
  }
}

template <std::size_t Size>
void move_elements(const strided_block& b, extent) {
  for (extent row = 0; row < b.rows; ++row) {
    const std::byte* from = b.from + row * b.from_row;
    std::byte* to = b.to + row * b.to_row;
    for (extent i = 0; i < b.count; ++i) {
      std::memcpy(to + i * b.to_step, from + i * b.from_step, Size);
    }
  }
}

void move_transposed(const strided_block& b, extent itemsize) {
  transpose(b.from, b.from_step, b.to, b.to_row, b.count, b.rows, itemsize);
}

/// Each row follows the pattern on its own.
template <pattern Pattern>
void move_patterned_rows(const strided_block& b, extent itemsize) {
  const shuffle move = shuffle_for(Pattern, itemsize);
  for (extent row = 0; row < b.rows; ++row) {
    move(b.from + row * b.from_row, 0, b.to + row * b.to_row, 0, static_cast<std::size_t>(b.count));
  }
}

/// Pixels of `b.rows` elements become planes. Parts of a block may have fewer rows.
template <extent Rows, pattern Pattern>
void split_pixels(const strided_block& b, extent itemsize) {
  if (b.rows != Rows) return move_transposed(b, itemsize);
  shuffle_for(Pattern, itemsize)(b.from, 0, b.to, b.to_row, static_cast<std::size_t>(b.count));
}

/// Planes become pixels of `b.count` elements.
template <extent Rows, pattern Pattern>
void join_pixels(const strided_block& b, extent itemsize) {
  if (b.count != Rows) return move_transposed(b, itemsize);
  shuffle_for(Pattern, itemsize)(b.from, b.from_step, b.to, 0, static_cast<std::size_t>(b.rows));
}

mover transposing_mover(const strided_block& b, extent itemsize) noexcept {
  if (b.from_step == b.rows * itemsize) {
    if (b.rows == 2) return split_pixels<2, pattern::split2>;
    if (b.rows == 3) return split_pixels<3, pattern::split3>;
    if (b.rows == 4) return split_pixels<4, pattern::split4>;
  }
  if (b.to_row == b.count * itemsize) {
    if (b.count == 2) return join_pixels<2, pattern::join2>;
    if (b.count == 3) return join_pixels<3, pattern::join3>;
    if (b.count == 4) return join_pixels<4, pattern::join4>;
  }
  return move_transposed;
}

}  // namespace

bool is_transposed(const strided_block& b) noexcept {
  return b.rows > 1 && b.from_row != 0 && std::abs(b.from_row) < std::abs(b.from_step);
}

mover mover_for(const strided_block& b, extent itemsize) noexcept {
  const bool whole = itemsize <= 8;
  if (b.to_step == itemsize) {
    if (b.from_step == itemsize) return move_dense_rows;
    if (whole && b.from_step == -itemsize) return move_patterned_rows<pattern::reverse>;
    if (whole && b.from_step == 2 * itemsize) return move_patterned_rows<pattern::skip>;
    if (whole && b.from_step == 0) return move_patterned_rows<pattern::fill>;
    if (whole && b.from_row == itemsize && b.rows > 1) return transposing_mover(b, itemsize);
  }
  switch (itemsize) {
    case 1: return move_elements<1>;
    case 2: return move_elements<2>;
    case 4: return move_elements<4>;
    case 8: return move_elements<8>;
    default: return move_elements<16>;
  }
}

}  // namespace dlpack_bridge::detail
