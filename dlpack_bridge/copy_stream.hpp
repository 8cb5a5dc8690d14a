#pragma once

#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// Stores that go past the caches: memory that is written in whole cache lines need not be read
/// first. Worth it for results that the caches cannot hold anyway, on some processors. Where there are
/// no such stores these are plain copies.

inline constexpr extent cache_line = 64;

inline extent place_in_line(const std::byte* p) noexcept {
  return static_cast<extent>(reinterpret_cast<std::uintptr_t>(p) % cache_line);
}

/// Elements before the first one at the start of a cache line; 0 when there is none.
inline extent elements_to_next_line(const std::byte* p, extent itemsize) noexcept {
  const extent bytes = (cache_line - place_in_line(p)) % cache_line;
  return bytes % itemsize == 0 ? bytes / itemsize : 0;
}

/// True when the functions below do more than memcpy, and are worth it on this processor.
bool can_stream() noexcept;

/// Whether that is worth it for results half as large as what is read for them, from one element to the
/// next.
bool streams_halves_of(extent bytes_read) noexcept;

/// Copies one row.
void stream_row(std::byte* to, const std::byte* from, extent bytes) noexcept;

/// Copies much memory; where that is quicker several pages at a time, so that more of it is on its
/// way at once.
void stream_copy(std::byte* to, const std::byte* from, extent bytes) noexcept;

/// Has to follow the last call of a thread before another thread reads.
void finish_streaming() noexcept;

}  // namespace dlpack_bridge::detail
