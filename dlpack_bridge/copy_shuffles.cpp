#include <dlpack_bridge/copy_shuffles.hpp>

#include <cstdint>

#include <dlpack_bridge/copy_instructions.hpp>

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
#endif

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
