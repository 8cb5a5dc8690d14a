#pragma once

#include <cstdint>

#include <dlpack_bridge/copy_move.hpp>

namespace dlpack_bridge::detail {

/// Transposes a block and makes elements of 8 bytes of those of 4 on the way.
using widening = void (*)(const strided_block& block);

/// Rows and columns that such a block has at least.
inline constexpr extent least_widened = 4;
/// Of shorter rows, several at a time are quicker to transpose in a buffer.
inline constexpr extent fewest_widened_columns = 33;

/// For transposed blocks with these steps and at most these rows and columns, of which it has
/// `fewest_widened_columns`, and the conversion of this number (copy_kernels.hpp). Null where it is
/// quicker to transpose first and convert then, or where there is no other way. With `streams` the
/// result goes past the caches (copy_stream.hpp).
widening widening_for(const strided_block& shape, std::uint8_t operation, bool streams) noexcept;

}  // namespace dlpack_bridge::detail
