#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "copy_ways.hpp"
#include <dlpack_bridge/copy_shuffles.hpp>
#include <dlpack_bridge/copy_stream.hpp>
#include <dlpack_bridge/copy_transpose.hpp>

// Stores that go past the caches, and others that want whole cache lines.
using namespace dlpack_bridge;
using namespace dlpack_bridge::detail;

namespace {

constexpr auto guard = std::byte{0x5a};

/// At a cache line, for tests that say how far from one they are.
class lines {
 public:
  explicit lines(extent bytes) : bytes_(static_cast<std::size_t>(bytes + 2 * cache_line), guard) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    begin_ = bytes_.data() + (cache_line - address % cache_line);
  }
  std::byte* data() noexcept { return begin_; }
  /// What lies around [from, to) is as it was.
  bool is_untouched_outside(extent from, extent to) const {
    const auto is_guard = [](std::byte b) { return b == guard; };
    const auto begin = begin_ - bytes_.data();
    return std::all_of(bytes_.begin(), bytes_.begin() + begin + from, is_guard) &&
           std::all_of(bytes_.begin() + begin + to, bytes_.end(), is_guard);
  }

 private:
  std::vector<std::byte> bytes_;
  std::byte* begin_;
};

std::vector<std::byte> some(extent count) {
  std::mt19937 engine(5);
  std::vector<std::byte> result(static_cast<std::size_t>(count));
  for (std::byte& b : result) b = static_cast<std::byte>(engine());
  return result;
}

using streamer = void (*)(std::byte*, const std::byte*, extent);

void check_streamed(streamer stream, extent bytes, extent offset) {
  const std::vector<std::byte> in = some(bytes + 7);
  lines out(bytes + offset);
  stream(out.data() + offset, in.data() + 7, bytes);
  finish_streaming();
  INFO(bytes << " bytes, " << offset << " from a line");
  CHECK(std::equal(in.begin() + 7, in.end(), out.data() + offset));
  CHECK(out.is_untouched_outside(offset, offset + bytes));
}

/// `js` x `ks` elements at the beginning of rows that are `pitch` bytes apart.
void check_transposed(extent js, extent ks, extent itemsize, extent from_pitch, extent to_pitch) {
  const std::vector<std::byte> in = some(js * from_pitch);
  lines out(ks * to_pitch);
  REQUIRE(can_stream_transposed(out.data(), to_pitch, js, ks, itemsize));
  stream_transposed(in.data(), from_pitch, out.data(), to_pitch, js, ks, itemsize);
  finish_streaming();
  extent wrong = 0;
  for (extent k = 0; k < ks; ++k) {
    for (extent j = 0; j < js; ++j) {
      const std::byte* const expected = in.data() + j * from_pitch + k * itemsize;
      const std::byte* const found = out.data() + k * to_pitch + j * itemsize;
      wrong += std::memcmp(found, expected, static_cast<std::size_t>(itemsize)) != 0;
    }
    std::byte* const row = out.data() + k * to_pitch;
    const auto is_written = [](std::byte b) { return b != guard; };
    wrong += std::any_of(row + js * itemsize, row + to_pitch, is_written);
  }
  INFO(js << " x " << ks << " of " << itemsize << " bytes, pitches " << from_pitch << ", "
          << to_pitch);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("rows that go past the caches are right at every length and address, in every way",
          "[copy]") {
  in_every_way([] {
    for (const extent offset : {0, 1, 4, 16, 63}) {
      for (extent bytes = 0; bytes < 300; ++bytes) check_streamed(stream_row, bytes, offset);
      for (const extent bytes : {4096, 16'384, 16'385, 70'000}) {
        check_streamed(stream_copy, bytes, offset);
      }
    }
  });
}

TEST_CASE("squares go past the caches in whole lines", "[copy]") {
  if (!is_supported(instruction_set::avx512)) SKIP("needs AVX512, which is not installed here");
  const copying here({instruction_set::avx512, cache_use::by_lines});
  for (const extent itemsize : {1, 2, 4, 8, 16}) {
    const extent line = cache_line / itemsize, square = 16 / itemsize;
    for (const extent js : {line, 2 * line, 3 * line}) {
      for (const extent ks : {square, square + 1, line, line + 1, 2 * line + square + 3}) {
        check_transposed(js, ks, itemsize, ks * itemsize + 5, js * itemsize);
        check_transposed(js, ks, itemsize, 4096, js * itemsize + cache_line);
      }
    }
  }
}

TEST_CASE("only what is made of whole lines can be streamed in squares", "[copy]") {
  if (!is_supported(instruction_set::avx512)) SKIP("needs AVX512, which is not installed here");
  lines out(4096);
  {
    const copying here({instruction_set::avx512, cache_use::by_lines});
    CHECK(can_stream_transposed(out.data(), 128, 32, 4, 4));
    CHECK_FALSE(can_stream_transposed(out.data() + 4, 128, 32, 4, 4));
    CHECK_FALSE(can_stream_transposed(out.data(), 132, 32, 4, 4));
    CHECK_FALSE(can_stream_transposed(out.data(), 128, 31, 4, 4));
    CHECK_FALSE(can_stream_transposed(out.data(), 128, 32, 3, 4));  // no square
  }
  const copying here({instruction_set::avx512, cache_use::announced});
  CHECK_FALSE(can_stream_transposed(out.data(), 128, 32, 4, 4));
}

TEST_CASE("one element fills rows of every length and address, in every way", "[copy]") {
  in_every_way([] {
    for (const extent itemsize : {1, 2, 4, 8}) {
      const shuffle fill = shuffle_for(pattern::fill, itemsize);
      const std::vector<std::byte> value = some(itemsize);
      for (const extent offset : {0, 1, 8, 62}) {
        for (extent count = 0; count < 300 / itemsize; ++count) {
          lines out(count * itemsize + offset);
          fill(value.data(), 0, out.data() + offset, 0, static_cast<std::size_t>(count));
          extent wrong = 0;
          for (extent i = 0; i < count * itemsize; ++i) {
            wrong += out.data()[offset + i] != value[static_cast<std::size_t>(i % itemsize)];
          }
          INFO(count << " of " << itemsize << " bytes, " << offset << " from a line");
          CHECK(wrong == 0);
          CHECK(out.is_untouched_outside(offset, offset + count * itemsize));
        }
      }
    }
  });
}
