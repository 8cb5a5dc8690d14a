#include <dlpack_bridge/copy_transpose.hpp>

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

void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch, extent js,
               extent ks, extent itemsize) noexcept {
  switch (itemsize) {
    case 1: return transpose_block<std::uint8_t>(from, from_pitch, to, to_pitch, js, ks);
    case 2: return transpose_block<std::uint16_t>(from, from_pitch, to, to_pitch, js, ks);
    case 4: return transpose_block<std::uint32_t>(from, from_pitch, to, to_pitch, js, ks);
    default: return transpose_block<std::uint64_t>(from, from_pitch, to, to_pitch, js, ks);
  }
}

}  // namespace dlpack_bridge::detail
