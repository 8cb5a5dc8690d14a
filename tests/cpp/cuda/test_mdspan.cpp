// The mdspan of CUDA's C++ library (libcu++), where test_array.cpp has a model of all mdspans.

#include <catch2/catch_test_macros.hpp>

#if __has_include(<cuda/std/mdspan>)

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <cuda/std/mdspan>

#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

namespace {

constexpr std::size_t any = cuda::std::dynamic_extent;
using cuda::std::layout_left;
using cuda::std::layout_right;
using cuda::std::layout_stride;
template <class T, class Layout, std::size_t... Extents>
using grid = cuda::std::mdspan<T, cuda::std::extents<int, Extents...>, Layout>;

using vector = grid<float, layout_stride, any>;
using matrix = grid<float, layout_stride, any, any>;
using const_matrix = grid<const float, layout_stride, any, any>;

static_assert(mdspan_like<matrix>);
static_assert(std::is_convertible_v<array<float, 2>&, matrix>);
static_assert(!std::is_convertible_v<array<float, 2>, matrix>);  // of a temporary: it would dangle
static_assert(std::is_convertible_v<array<float, 2, on_cuda>&, matrix>);
static_assert(std::is_convertible_v<array<float>&, matrix>);
static_assert(std::is_convertible_v<array<float, 2>&, const_matrix>);
static_assert(std::is_convertible_v<array<const float, 2>&, const_matrix>);
static_assert(!std::is_convertible_v<array<const float, 2>&, matrix>);
static_assert(!std::is_convertible_v<array<double, 2>&, matrix>);
static_assert(!std::is_convertible_v<array<float, 3>&, matrix>);

/// 0 1 2 / 3 4 5 in memory.
managed_tensor rows() { return share(std::vector<float>{0, 1, 2, 3, 4, 5}, {2, 3}); }

/// 0 2 4 / 1 3 5 in the same memory.
managed_tensor columns() {
  auto values = std::make_shared<std::vector<float>>(std::vector<float>{0, 1, 2, 3, 4, 5});
  return share(values->data(), {2, 3}, {1, 2}, float32, values);
}

}  // namespace

TEST_CASE("a cuda::std::mdspan of any strides reads and writes the memory of the array") {
  const array<float, 2> x(columns());
  const matrix m = x;
  CHECK(m.data_handle() == x.data());
  CHECK(std::array{m.extent(0), m.extent(1)} == std::array{2, 3});
  CHECK(std::array{m.stride(0), m.stride(1)} == std::array{1, 2});
  CHECK(m(1, 2) == 5);
  m(0, 1) = 7;
  CHECK(x(0, 1) == 7);
}

TEST_CASE("a cuda::std::mdspan of const elements is made of arrays that are read and of others") {
  const array<const float, 2> read(rows());
  const array<float, 2> written(columns());
  CHECK(const_matrix(read)(1, 0) == 3);
  CHECK(const_matrix(written)(1, 0) == 1);
}

TEST_CASE("a dense cuda::std::mdspan is made of an array with that layout only") {
  const array<float, 2> row_major(rows());
  const array<float, 2> column_major(columns());
  using right = grid<float, layout_right, any, any>;
  using left = grid<float, layout_left, any, any>;
  CHECK(right(row_major)(1, 0) == 3);
  CHECK(left(column_major)(1, 0) == 1);
  CHECK_THROWS_AS(right(column_major), std::invalid_argument);
  CHECK_THROWS_AS(left(row_major), std::invalid_argument);
}

TEST_CASE("the static extents of a cuda::std::mdspan are those of the array") {
  const array<float, 2> x(rows());
  const grid<float, layout_right, 2, any> m = x;
  static_assert(m.static_extent(0) == 2);
  CHECK(m.extent(1) == 3);
  CHECK(m(1, 2) == 5);
  using wide = grid<float, layout_stride, any, 4>;
  CHECK_THROWS_AS(static_cast<wide>(x), std::invalid_argument);
}

TEST_CASE("a cuda::std::mdspan of another rank is refused where the rank is open") {
  const array<float> x(rows());
  CHECK(matrix(x)(1, 2) == 5);
  CHECK_THROWS_AS(static_cast<vector>(x), std::invalid_argument);
}

TEST_CASE("a cuda::std::mdspan has no axes where the array has none") {
  const array<float, 0> x(make_tensor({}, float32));
  x() = 3;
  CHECK(grid<float, layout_right>(x)() == 3);
  CHECK(grid<float, layout_stride>(x)() == 3);
}

TEST_CASE("a cuda::std::mdspan whose index is too narrow for the array is refused") {
  using narrow = cuda::std::mdspan<float, cuda::std::dextents<std::int8_t, 1>>;
  const array<float, 1> fits(share(std::vector<float>(127)));
  const array<float, 1> too_long(share(std::vector<float>(128)));
  CHECK(narrow(fits).extent(0) == 127);
  CHECK_THROWS_AS(static_cast<narrow>(too_long), std::invalid_argument);
}

TEST_CASE("a cuda::std::mdspan of device memory is made without a look at it") {
  auto* const address = reinterpret_cast<float*>(std::uintptr_t{1} << 20);
  const array<float, 2, on_cuda> x(
      share(address, {2, 3}, {1, 2}, float32, [] {}, device{kDLCUDA, 0}));
  const matrix m = x;
  CHECK(m.data_handle() == address);
  CHECK(std::array{m.stride(0), m.stride(1)} == std::array{1, 2});
}

#else

TEST_CASE("arrays become a cuda::std::mdspan") {
  SKIP("needs libcudacxx, which is not installed here");
}

#endif
