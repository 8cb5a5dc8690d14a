#include <dlpack_bridge/copy_move.hpp>

#include <cstdint>
#include <cstring>

namespace dlpack_bridge::detail {
namespace {

template <std::size_t Size>
struct [[gnu::packed, gnu::may_alias]] element {
  unsigned char bytes[Size];
};

template <class Element>
[[gnu::always_inline]] inline void move_one(const std::byte* from, std::byte* to) {
  std::memcpy(to, from, sizeof(Element));
}

void move_dense_rows(const strided_block& b, extent itemsize) {
  const auto bytes = static_cast<std::size_t>(b.count * itemsize);
  for (extent row = 0; row < b.rows; ++row) {
    std::memcpy(b.to + row * b.to_row, b.from + row * b.from_row, bytes);
  }
}

template <std::size_t Size>
void move_strided(const strided_block& b, extent) {
  for (extent row = 0; row < b.rows; ++row) {
    const std::byte* from = b.from + row * b.from_row;
    std::byte* to = b.to + row * b.to_row;
    for (extent i = 0; i < b.count; ++i) {
      move_one<element<Size>>(from + i * b.from_step, to + i * b.to_step);
    }
  }
}

void move_any(const strided_block& b, extent itemsize) {
  for (extent row = 0; row < b.rows; ++row) {
    for (extent i = 0; i < b.count; ++i) {
      std::memcpy(b.to + row * b.to_row + i * b.to_step, b.from + row * b.from_row + i * b.from_step,
                  static_cast<std::size_t>(itemsize));
    }
  }
}

}  // namespace

mover mover_for(const strided_block& block, extent itemsize) noexcept {
  if (block.from_step == itemsize && block.to_step == itemsize) return move_dense_rows;
  switch (itemsize) {
    case 1: return move_strided<1>;
    case 2: return move_strided<2>;
    case 4: return move_strided<4>;
    case 8: return move_strided<8>;
    case 16: return move_strided<16>;
    default: return move_any;
  }
}

}  // namespace dlpack_bridge::detail
