#include <dlpack_bridge/copy_stream.hpp>

#include <algorithm>
#include <cstring>

#include <dlpack_bridge/copy_instructions.hpp>

#ifdef DLPACK_BRIDGE_X86
#include <immintrin.h>
#endif

namespace dlpack_bridge::detail {

#ifdef DLPACK_BRIDGE_X86
namespace {

constexpr extent page = 4096;
constexpr extent pages_at_once = 4;
constexpr extent lines_in_a_row = 4;

[[gnu::always_inline]] inline void stream_line(std::byte* to, const std::byte* from) {
  const auto* in = reinterpret_cast<const __m128i*>(from);
  auto* out = reinterpret_cast<__m128i*>(to);
  const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
  const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
  _mm_stream_si128(out, a);
  _mm_stream_si128(out + 1, b);
  _mm_stream_si128(out + 2, c);
  _mm_stream_si128(out + 3, d);
}

[[gnu::target(DLPACK_BRIDGE_AVX512)]] void stream_whole_lines(std::byte* to, const std::byte* from,
                                                              extent lines) noexcept {
  for (; lines > 0; --lines, to += cache_line, from += cache_line) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
  }
}

/// Copies what lies before the first whole line; returns how much that was.
extent copy_to_next_line(std::byte* to, const std::byte* from, extent bytes) noexcept {
  const extent head = std::min((cache_line - place_in_line(to)) % cache_line, bytes);
  if (head > 0) std::memcpy(to, from, static_cast<std::size_t>(head));
  return head;
}

}  // namespace

// AMD's processors do not gather what is written of a line in parts: converting 64 MB of float64 to
// float32 with one thread went at 14 GB/s in parts and at 40 through the caches (EPYC of family 1Ah,
// measured). Lines that are written in one store each pass them at 50.
bool can_stream() noexcept { return caches() != cache_use::plain; }

// In whole lines, float32 to float16 and bfloat16 gain up to an eighth, float64 to float32 loses a fifth.
bool streams_halves_of(extent bytes_read) noexcept {
  return caches() == cache_use::announced || bytes_read <= 4;
}

void stream_row(std::byte* to, const std::byte* from, extent bytes) noexcept {
  extent done = copy_to_next_line(to, from, bytes);
  const extent lines = (bytes - done) / cache_line;
  if (caches() == cache_use::by_lines) {
    stream_whole_lines(to + done, from + done, lines);
  } else {
    for (extent i = 0; i < lines * cache_line; i += cache_line) {
      stream_line(to + done + i, from + done + i);
    }
  }
  done += lines * cache_line;
  if (done < bytes) std::memcpy(to + done, from + done, static_cast<std::size_t>(bytes - done));
}

void stream_copy(std::byte* to, const std::byte* from, extent bytes) noexcept {
  if (caches() == cache_use::by_lines) return stream_row(to, from, bytes);
  extent done = copy_to_next_line(to, from, bytes);
  for (; done + pages_at_once * page <= bytes; done += pages_at_once * page) {
    for (extent line = 0; line < page; line += lines_in_a_row * cache_line) {
      for (extent i = 0; i < pages_at_once; ++i) {
        const extent at = done + i * page + line;
        for (extent k = 0; k < lines_in_a_row * cache_line; k += cache_line) {
          stream_line(to + at + k, from + at + k);
        }
      }
    }
  }
  stream_row(to + done, from + done, bytes - done);
}

void finish_streaming() noexcept { _mm_sfence(); }

#else

bool can_stream() noexcept { return false; }
bool streams_halves_of(extent) noexcept { return false; }

void stream_row(std::byte* to, const std::byte* from, extent bytes) noexcept {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

void stream_copy(std::byte* to, const std::byte* from, extent bytes) noexcept {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

void finish_streaming() noexcept {}

#endif

}  // namespace dlpack_bridge::detail
