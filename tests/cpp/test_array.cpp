#include <algorithm>
#include <complex>
#include <cstdint>
#include <iterator>
#include <memory>
#include <numeric>
#include <ranges>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "small_mdspan.hpp"
#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/error.hpp>

using namespace dlpack_bridge;

namespace {

using numbers = std::vector<float>;

managed_tensor counted(std::int64_t rows, std::int64_t columns) {
  numbers values(static_cast<std::size_t>(rows * columns));
  std::iota(values.begin(), values.end(), 0.0F);
  return share(std::move(values), {rows, columns});
}

/// 0 1 2 / 3 4 5, as columns beside each other.
managed_tensor column_major() {
  auto values = std::make_shared<numbers>(numbers{0, 3, 1, 4, 2, 5});
  return share(values->data(), {2, 3}, {1, 2}, float32, values);
}

managed_tensor read_only() {
  auto values = std::make_shared<numbers>(numbers{0, 1, 2});
  return share(values->data(), {3}, {}, float32, values, {}, /*read_only=*/true);
}

managed_tensor on_device(void* data, device where) {
  return share(data, {4}, {}, float32, [] {}, where);
}

template <class Array>
std::vector<typename Array::value_type> elements(const Array& a) {
  return {a.begin(), a.end()};
}

/// The codes of what a call refuses; none when it goes well.
template <class Call>
std::vector<reason_code> refused_reasons(Call call) {
  std::vector<reason_code> codes;
  try {
    call();
  } catch (const exchange_error& error) {
    for (const reason& r : error.blockers()) codes.push_back(r.code);
  }
  return codes;
}

/// The reasons of a refusal, in their order.
template <class Array>
std::vector<reason> refused(managed_tensor t) {
  try {
    const Array made(std::move(t));
  } catch (const exchange_error& error) {
    CHECK(std::string(error.what()).starts_with("expected " + std::string(Array::form().name)));
    for (const reason& r : error.blockers()) {
      CHECK(std::string(error.what()).find(r.message) != std::string::npos);
    }
    return error.blockers();
  }
  FAIL("taken");
  return {};
}

template <class Array>
bool refused_for(managed_tensor t, reason_code code) {
  const std::vector<reason> all = refused<Array>(std::move(t));
  return all.size() == 1 && all[0].code == code;
}

}  // namespace

// ---- the type ------------------------------------------------------------------------------------

static_assert(std::is_copy_constructible_v<array<float>>);
static_assert(std::is_nothrow_move_constructible_v<array<float, 2>>);
static_assert(std::is_same_v<decltype(std::declval<const array<float>&>()(0)), float&>);
static_assert(std::is_same_v<decltype(std::declval<array<const float>&>()(0)), const float&>);
static_assert(std::is_same_v<decltype(std::declval<const array<const float, 2>&>().span()),
                             std::span<const float>>);
static_assert(std::forward_iterator<array<float, 3>::iterator>);
static_assert(std::contiguous_iterator<array<float, 3, c_contiguous>::iterator>);
static_assert(std::ranges::forward_range<array<const double>>);

static_assert(std::is_convertible_v<array<float, 2, c_contiguous>, array<const float>>);
static_assert(!std::is_convertible_v<array<const float>, array<float>>);
static_assert(!std::is_convertible_v<array<float>, array<float, 2>>);
static_assert(!std::is_convertible_v<array<float, 2>, array<float, 2, c_contiguous>>);
static_assert(!std::is_convertible_v<array<float, 2, on_cuda>, array<float, 2>>);
static_assert(std::is_convertible_v<array<float, 2, on_cuda>, array<float, 2, on_any>>);
static_assert(!std::is_convertible_v<array<float>, array<double>>);

template <extent... Extents>
using sized = array<float, dynamic, shape<Extents...>>;
static_assert(std::is_convertible_v<sized<2, 3>, array<const float, dynamic, shape<2, 3>>>);
static_assert(std::is_convertible_v<sized<2, 3>, sized<dynamic, 3>>);
static_assert(std::is_convertible_v<sized<dynamic, 3>, sized<dynamic, dynamic>>);
static_assert(std::is_convertible_v<array<float, dynamic, shape<2, 3>, c_contiguous>, sized<2, 3>>);
static_assert(std::is_convertible_v<sized<2, 3>, array<float, 2>>);
static_assert(std::is_convertible_v<array<float, 2>, sized<dynamic, dynamic>>);
static_assert(!std::is_convertible_v<sized<dynamic, 3>, sized<2, 3>>);
static_assert(!std::is_convertible_v<sized<2, 3>, sized<2, 4>>);
static_assert(!std::is_convertible_v<sized<2, 3>, sized<2>>);
static_assert(!std::is_convertible_v<sized<2, 3>, sized<2, 3, 1>>);
static_assert(!std::is_convertible_v<array<float, 2>, sized<dynamic, 3>>);
static_assert(!std::is_convertible_v<array<float>, sized<dynamic, dynamic>>);

// What borrows from an array needs one that stays.
template <class Array>
concept gives_views = requires(Array&& a) { std::forward<Array>(a).view(); } ||
                      requires(Array&& a) { std::forward<Array>(a).span(); } ||
                      requires(Array&& a) { std::forward<Array>(a).shape(); } ||
                      requires(Array&& a) { std::forward<Array>(a).strides(); } ||
                      requires(Array&& a) { std::forward<Array>(a).begin(); } ||
                      requires(Array&& a) { std::forward<Array>(a).end(); };
static_assert(gives_views<array<float, 1>&> && gives_views<const array<float, 1>&>);
static_assert(!gives_views<array<float, 1>> && !gives_views<const array<float, 1>>);
static_assert(!gives_views<array<float, 1, c_contiguous>>);

template <class Array>
concept reads_elements = requires(const Array& a) { a(0); };
static_assert(reads_elements<array<float, 1>> && reads_elements<array<float>>);
static_assert(!reads_elements<array<float, 2>>);
static_assert(!reads_elements<array<float, 1, on_cuda>> &&
              !reads_elements<array<float, 1, on_any>>);

static_assert(array<float>::form().name == "array[float32]");
static_assert(array<const bool, 0>::form().name == "array[const bool, 0]");
static_assert(array<double, 2, c_contiguous>::form().name == "array[float64, 2, c_contiguous]");
static_assert(array<const float, dynamic, converting, on_any>::form().name ==
              "array[const float32, on_any, converting]");
static_assert(array<int, 3, f_contiguous, shape<128, dynamic, 3>, on_cuda>::form().name ==
              "array[int32, (128, *, 3), f_contiguous, on_cuda]");
static_assert(array<bfloat16_t, dynamic, shape<7>>::form().name == "array[bfloat16, (7,)]");
static_assert(array<int, dynamic, shape<7>>::form().rank == 1);

TEST_CASE("the names of forms spell element types as dtype does") {
  CHECK(array<std::complex<double>>::form().name == "array[" + complex128.name() + "]");
}

// ---- elements ------------------------------------------------------------------------------------

TEST_CASE("an element is found by its index in any layout") {
  const array<float, 2, c_contiguous> rows(counted(2, 3));
  const array<float, 2> columns(column_major());
  const array<float> any(column_major());
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      const auto expected = static_cast<float>(3 * i + j);
      CHECK(rows(i, j) == expected);
      CHECK(columns(i, j) == expected);
      CHECK(any(i, j) == expected);
      CHECK(any.at(static_cast<std::uint8_t>(i), std::int64_t{j}) == expected);
    }
  }
}

TEST_CASE("negative strides and 0-d arrays have elements too") {
  auto values = std::make_shared<numbers>(numbers{1, 2, 3});
  const array<float, 1> reversed(share(values->data() + 2, {3}, {-1}, float32, values));
  CHECK(reversed[0] == 3);
  CHECK(elements(reversed) == numbers{3, 2, 1});
  const array<float, 0> scalar(share(values->data(), {}, {}, float32, values));
  CHECK(scalar() == 1);
  CHECK(scalar.size() == 1);
  CHECK(elements(scalar) == numbers{1});
  CHECK(elements(array<float>(share(scalar))) == numbers{1});
}

TEST_CASE("at checks the index, whatever its type") {
  const array<float, 2> fixed(counted(2, 3));
  const array<float> any = fixed;
  CHECK(fixed.at(1, 2) == 5);
  CHECK_THROWS_AS(fixed.at(2, 0), std::out_of_range);
  CHECK_THROWS_AS(fixed.at(0, -1), std::out_of_range);
  CHECK_THROWS_AS(fixed.at(0, std::size_t{1} << 63), std::out_of_range);
  CHECK_THROWS_AS(any.at(1), std::out_of_range);
  CHECK_THROWS_AS(any.at(1, 1, 0), std::out_of_range);
}

TEST_CASE("iteration visits every element once, in row-major order") {
  CHECK(elements(array<float, 2>(column_major())) == numbers{0, 1, 2, 3, 4, 5});
  CHECK(elements(array<float>(column_major())) == numbers{0, 1, 2, 3, 4, 5});
  CHECK(elements(array<float, 2, c_contiguous>(counted(2, 3))) == numbers{0, 1, 2, 3, 4, 5});
  CHECK(elements(array<float>(counted(0, 3))).empty());
  CHECK(elements(array<float>(counted(3, 0))).empty());

  auto values = std::make_shared<numbers>(48);
  std::iota(values->begin(), values->end(), 0.0F);
  const array<float, 4> parts(share(values->data(), {2, 2, 1, 3}, {24, 3, 7, 8}, float32, values));
  numbers expected;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      for (int k = 0; k < 3; ++k) expected.push_back(static_cast<float>(24 * i + 3 * j + 8 * k));
    }
  }
  CHECK(elements(parts) == expected);
}

TEST_CASE("algorithms and ranges take an array") {
  const array<float, 2> columns(column_major());
  std::ranges::fill(columns | std::views::drop(3), 9.0F);
  CHECK(columns(0, 2) == 2);
  CHECK(columns(1, 0) == 9);
  CHECK(std::ranges::count(columns, 9.0F) == 3);
  CHECK(std::ranges::max_element(columns) == std::next(columns.begin(), 3));
}

TEST_CASE("a span needs dense memory") {
  const array<float, 2, c_contiguous> rows(counted(2, 3));
  CHECK(rows.span().size() == 6);
  CHECK(rows.span().data() == rows.data());
  const array<float, 2> dense(counted(2, 3)), columns(column_major()), none(counted(0, 3));
  CHECK(dense.span().size() == 6);
  CHECK_THROWS_AS(columns.span(), std::logic_error);
  CHECK(none.span().empty());
}

TEST_CASE("elements can be written through a const array, not through const elements") {
  const array<float, 2> x(counted(2, 3));
  const array<const float> reader = x;
  x(1, 1) = 50;
  CHECK(reader(1, 1) == 50);
}

// ---- facts ---------------------------------------------------------------------------------------

TEST_CASE("an array tells shape, strides, size and where it is") {
  const array<float, 2> x(column_major());
  CHECK(x.ndim() == 2);
  CHECK(x.shape(0) == 2);
  CHECK(x.shape(1) == 3);
  CHECK(x.stride(0) == 1);
  CHECK(x.stride(1) == 2);
  CHECK(x.size() == 6);
  CHECK_FALSE(x.empty());
  CHECK_FALSE(x.is_c_contiguous());
  CHECK(x.device() == device());
  CHECK(x.stream() == nullptr);
  CHECK(x.view().dtype() == float32);
  CHECK_FALSE(x.view().read_only());
}

TEST_CASE("an array without memory is empty") {
  CHECK(array<float>().empty());
  CHECK((array<float, 0>().empty()));
  CHECK((array<float, 2>().empty()));
  const array<float, 2> none;
  CHECK(none.begin() == none.end());
}

TEST_CASE("an array that was moved from is empty") {
  const auto check_empty_after_move = []<class Array>(Array x) {
    const Array taken = std::move(x);
    CHECK(x.size() == 0);  // NOLINT: what a moved array says is part of the test
    CHECK(x.empty());
    CHECK(x.data() == nullptr);
    CHECK(x.begin() == x.end());
    CHECK(taken.size() == 6);
    Array other;
    other = taken;
    Array last;
    last = std::move(other);
    CHECK(other.empty());
    CHECK(last.data() == taken.data());
  };
  check_empty_after_move(array<float>(counted(2, 3)));
  check_empty_after_move(array<float, 2>(counted(2, 3)));
  check_empty_after_move(array<float, 2, c_contiguous>(counted(2, 3)));
}

TEST_CASE("no index is inside an array without memory") {
  array<float, 2> matrix(counted(2, 3));
  array<float> any(counted(2, 3));
  array<float, 0> scalar(share(numbers{1}, {}));
  const array<float, 2> matrix_taken = std::move(matrix);
  const array<float> any_taken = std::move(any);
  const array<float, 0> scalar_taken = std::move(scalar);
  // NOLINTBEGIN: what a moved array says is part of the test
  CHECK_THROWS_AS(matrix.at(0, 0), std::out_of_range);
  CHECK_THROWS_AS(any.at(0, 0), std::out_of_range);
  CHECK_THROWS_AS(any.at(), std::out_of_range);
  CHECK_THROWS_AS(scalar.at(), std::out_of_range);
  // NOLINTEND
  CHECK_THROWS_AS((array<float, 0>().at()), std::out_of_range);
  CHECK(matrix_taken.at(1, 2) == 5);
  CHECK(any_taken.at(1, 2) == 5);
  CHECK(scalar_taken.at() == 1);
}

TEST_CASE("there is no array in an empty managed tensor") {
  CHECK(refused_for<array<float>>(managed_tensor(), reason_code::malformed));
  CHECK(refused_for<array<const float, 2, converting>>(managed_tensor(), reason_code::malformed));
}

TEST_CASE("an array without memory is shared where its shape has no elements") {
  const auto is_malformed = [](const auto& x) {
    const std::vector<reason_code> codes = refused_reasons([&] { share(x); });
    return codes == std::vector{reason_code::malformed};
  };
  CHECK(is_malformed(array<float>()));
  CHECK(is_malformed(array<const float, 0>()));
  array<float, 2> moved(counted(2, 3));
  const array<float, 2> taken = std::move(moved);
  CHECK(is_malformed(moved));  // NOLINT: what a moved array says is part of the test
  const managed_tensor empty = share(array<float, 2>());
  CHECK(empty.view().size() == 0);
}

TEST_CASE("more axes than fit inline are kept as well") {
  auto values = std::make_shared<numbers>(numbers{1, 2, 3});
  const extent_list sizes{1, 1, 1, 1, 1, 1, 1, 3};
  array<float> x(share(values->data(), sizes, {}, float32, values));
  const array<float> copy = x;
  const array<float> moved = std::move(x);
  CHECK(moved.ndim() == 8);
  CHECK(moved.shape(7) == 3);
  CHECK(copy(0, 0, 0, 0, 0, 0, 0, 2) == 3);
  CHECK(elements(copy) == numbers{1, 2, 3});
}

TEST_CASE("arrays of any rank replace each other, and one that was moved from has no axes") {
  auto values = std::make_shared<numbers>(numbers{1, 2, 3});
  const auto with = [&](const extent_list& sizes) {
    return array<float>(share(values->data(), sizes, {}, float32, values));
  };
  array<float> few = with({3}), many = with({1, 1, 1, 1, 1, 3});
  few = many;
  CHECK(few.ndim() == 6);
  CHECK(few.shape(5) == 3);
  many = with({3, 1});
  CHECK(many.ndim() == 2);
  CHECK(elements(many) == numbers{1, 2, 3});
  few = std::move(many);
  CHECK(few.ndim() == 2);
  const array<float> taken = std::move(few);
  CHECK(taken.shape(0) == 3);
  CHECK(few.shape().empty());  // NOLINT: what a moved array says is part of the test
}

// ---- what fits -----------------------------------------------------------------------------------

TEST_CASE("each mismatch is refused by name") {
  using why = reason_code;
  CHECK(refused_for<array<double, 2>>(counted(2, 3), why::dtype));
  CHECK(refused_for<array<float, 1>>(counted(2, 3), why::layout));
  CHECK(refused_for<array<float, 2, shape<2, 4>>>(counted(2, 3), why::layout));
  CHECK(refused_for<array<float, 2, c_contiguous>>(column_major(), why::order));
  CHECK(refused_for<array<float, 2, f_contiguous>>(counted(2, 3), why::layout));
  CHECK(refused_for<array<float, 1>>(read_only(), why::readonly));
  CHECK(refused_for<array<float, 2, on_cuda>>(counted(2, 3), why::device));
}

TEST_CASE("a stride of -1 is told as what it is") {
  auto values = std::make_shared<numbers>(numbers{1, 2, 3});
  using row = array<float, 1, c_contiguous>;
  const auto all = refused<row>(share(values->data() + 2, {3}, {-1}, float32, values));
  REQUIRE(all.size() == 1);
  CHECK(all[0].message == "expected a row-major, dense array, found strides (-1,)");
  using wide = array<float, 2, shape<dynamic, 4>>;
  const auto shapes = refused<wide>(counted(2, 3));
  REQUIRE(shapes.size() == 1);
  CHECK(shapes[0].message == "expected shape (*, 4), found (2, 3)");
}

TEST_CASE("what fits is taken as it is") {
  managed_tensor t = column_major();
  const void* data = t.view().data();
  const array<float, 2, f_contiguous, shape<dynamic, 3>> x(std::move(t));
  CHECK(x.data() == data);
  CHECK(x(1, 2) == 5);
  CHECK(elements(array<const float, 1>(read_only())) == numbers{0, 1, 2});
}

TEST_CASE("all mismatches are told together") {
  std::vector<reason_code> codes;
  for (const reason& r : refused<array<double, 3, c_contiguous>>(column_major())) {
    codes.push_back(r.code);
  }
  CHECK(codes == std::vector{reason_code::dtype, reason_code::order, reason_code::layout});
}

TEST_CASE("elements that overlap cannot be written") {
  auto values = std::make_shared<numbers>(numbers{1});
  const auto broadcast = [&] { return share(values->data(), {3}, {0}, float32, values); };
  CHECK(refused_for<array<float, 1>>(broadcast(), reason_code::readonly));
  CHECK(elements(array<const float, 1>(broadcast())) == numbers{1, 1, 1});
}

TEST_CASE("converting copies what does not fit, and only that") {
  const array<const double, 2, c_contiguous, converting> x(column_major());
  CHECK(x(1, 2) == 5.0);
  CHECK(x.is_c_contiguous());
  managed_tensor t = counted(2, 3);
  const void* data = t.view().data();
  const array<const float, 2, converting> same(std::move(t));
  CHECK(same.data() == data);
  // A rank is no matter of conversion.
  CHECK(refused_for<array<const double, 1, converting>>(counted(2, 3), reason_code::layout));
}

TEST_CASE("memory of a device is held under its own tag, with its stream") {
  float host[4] = {};
  const device where(kDLCUDA, 1);
  managed_tensor t = on_device(host, where);
  t.set_stream(*stream_handle::from_protocol(kDLCUDA, 0x1234));
  const array<float, 1, on_cuda> x(std::move(t));
  CHECK(x.device() == where);
  CHECK(x.stream() == reinterpret_cast<CUstream_st*>(0x1234));
  const array<float, 1, on_any> any = x;
  CHECK(any.stream_number() == x.stream_number());
  CHECK(refused_for<array<float, 1>>(on_device(host, where), reason_code::device));
}

TEST_CASE("an array on a device of handles keeps its byte_offset") {
  float handle[4] = {};
  extent shape[] = {4};
  const auto with_offset = [&](device where) {
    const DLTensor tensor{handle, where, 1, float32, shape, nullptr, 16};
    return array<float, 1, on_any>(managed_tensor::wrap(tensor_view(tensor), owner()));
  };
  const array<float, 1, on_any> metal = with_offset(device(kDLMetal));
  CHECK(metal.data() == handle);
  CHECK(metal.byte_offset() == 16);
  CHECK(metal.view().byte_offset() == 16);
  CHECK(share(metal).get()->dl_tensor.byte_offset == 16);
  const array<const float, dynamic, on_any> wider = metal;
  CHECK(wider.byte_offset() == 16);
  // Elsewhere it is in the address.
  const array<float, 1, on_any> cuda = with_offset(device(kDLCUDA));
  CHECK(cuda.data() == handle + 4);
  CHECK(cuda.byte_offset() == 0);
  CHECK(share(cuda).get()->dl_tensor.byte_offset == 0);
  static_assert(sizeof(array<float, 1>) + 8 == sizeof(array<float, 1, on_any>));
}

// ---- life ----------------------------------------------------------------------------------------

TEST_CASE("the memory lives as long as one copy of the array does, on any thread") {
  int released = 0;
  float element = 0;
  {
    array<float, 1> x(share(&element, {1}, {}, float32, [&released] { ++released; }));
    array<float, 1> copy = x;
    const array<const float> wider = copy;
    x = array<float, 1>();
    copy = {};
    CHECK(released == 0);
    std::thread([kept = std::move(wider)] {}).join();
    CHECK(released == 0);
  }
  CHECK(released == 1);
}

TEST_CASE("a refused array is released once") {
  int released = 0;
  float element = 0;
  refused<array<double>>(share(&element, {1}, {}, float32, [&released] { ++released; }));
  CHECK(released == 1);
}

TEST_CASE("an array is shared as a managed tensor without a copy") {
  int released = 0;
  float element = 3;
  managed_tensor shared;
  {
    const array<float, 1> x(share(&element, {1}, {}, float32, [&released] { ++released; }));
    shared = share(x);
    CHECK(shared.view().data() == x.data());
    CHECK_FALSE(shared.read_only());
    CHECK(share(array<const float>(x)).read_only());
  }
  CHECK(released == 0);
  shared.reset();
  CHECK(released == 1);
}

// ---- mdspan --------------------------------------------------------------------------------------

using small_mdspan::layout_right;
using small_mdspan::layout_stride;
constexpr std::size_t any = small_mdspan::dynamic_extent;
template <class T, class Layout, std::size_t... Extents>
using matrix = small_mdspan::mdspan<T, small_mdspan::extents<int, Extents...>, Layout>;

static_assert(
    std::is_convertible_v<const array<float, 2>&, matrix<const float, layout_stride, any, any>>);
static_assert(
    !std::is_convertible_v<const array<const float, 2>&, matrix<float, layout_stride, any, any>>);
static_assert(
    !std::is_convertible_v<const array<float, 3>&, matrix<float, layout_stride, any, any>>);
static_assert(!std::is_convertible_v<array<float, 2>, matrix<float, layout_stride, any, any>>);

TEST_CASE("an mdspan sees the same elements") {
  const array<float, 2> columns(column_major());
  const matrix<float, layout_stride, any, any> strided = columns;
  CHECK(strided(1, 2) == 5);
  strided(1, 2) = 7;
  CHECK(columns(1, 2) == 7);
  const array<float> rows(counted(2, 3));
  const matrix<const float, layout_right, 2, any> dense = rows;
  CHECK(dense(1, 2) == 5);
  CHECK(dense.extent(1) == 3);
}

TEST_CASE("an mdspan of another rank, extent or layout is refused") {
  const array<float, 2> columns(column_major());
  const array<float> rows(counted(2, 3));
  using dense = matrix<float, layout_right, any, any>;
  using wide = matrix<float, layout_stride, any, 4>;
  using vector = matrix<float, layout_stride, any>;
  CHECK_THROWS_AS(static_cast<dense>(columns), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<wide>(columns), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<vector>(rows), std::invalid_argument);
}

TEST_CASE("an mdspan needs memory for its elements") {
  using dense = matrix<float, layout_right, any, any>;
  using scalar = matrix<float, layout_right>;
  array<float, 2> rows(counted(2, 3));
  const array<float, 2> taken = std::move(rows);
  CHECK(refused_reasons([&] { static_cast<void>(static_cast<dense>(rows)); }) ==  // NOLINT: moved
        std::vector{reason_code::malformed});
  CHECK(refused_reasons([] {
          const array<float> nothing;
          static_cast<void>(static_cast<scalar>(nothing));
        }) == std::vector{reason_code::malformed});
  const array<float, 2> without_elements;
  CHECK(static_cast<dense>(without_elements).extent(0) == 0);
}
