#pragma once

#include <cstddef>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// to[k][j] = from[j][k] for elements of 1, 2, 4, 8 or 16 bytes that lie side by side along k in the
/// source and along j in the destination; the pitches are bytes from one row to the next. Works in
/// registers, on squares of 16 bytes a side; the caller picks blocks that suit the caches.
void transpose(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch, extent js,
               extent ks, extent itemsize) noexcept;

/// The same with stores that go past the caches (copy_stream.hpp). Precondition:
/// `can_stream_transposed`.
void stream_transposed(const std::byte* from, extent from_pitch, std::byte* to, extent to_pitch,
                       extent js, extent ks, extent itemsize) noexcept;

/// True when copies go past the caches in whole lines (`cache_use::by_lines`), and each row of this
/// destination is made of such.
bool can_stream_transposed(const std::byte* to, extent to_pitch, extent js, extent ks,
                           extent itemsize) noexcept;

}  // namespace dlpack_bridge::detail
