#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/element_types.hpp>
#include <dlpack_bridge/managed_tensor.hpp>

namespace {

/// An element type of a user's own.
struct my_half {
  std::uint16_t bits;
};

}  // namespace

template <>
inline constexpr dlpack_bridge::dtype dlpack_bridge::dtype_for<my_half> = dlpack_bridge::float16;

using namespace dlpack_bridge;

static_assert(dtype_for<bool> == boolean);
static_assert(dtype_for<signed char> == int8 && dtype_for<unsigned char> == uint8);
static_assert(dtype_for<long> == dtype(kDLInt, 8 * sizeof(long)));
static_assert(dtype_for<std::uint64_t> == uint64);
static_assert(dtype_for<float> == float32 && dtype_for<double> == float64);
static_assert(dtype_for<std::complex<float>> == complex64);
static_assert(dtype_for<std::complex<double>> == complex128);
static_assert(dtype_for<float16_t> == float16 && dtype_for<bfloat16_t> == bfloat16);
static_assert(dtype_for<__half> == float16 && dtype_for<__nv_bfloat16> == bfloat16);
static_assert(dtype_for<my_half> == float16);
static_assert(sizeof(float16_t) == 2 && sizeof(bfloat16_t) == 2);
static_assert(std::is_trivially_copyable_v<float16_t> && std::is_trivially_copyable_v<bfloat16_t>);

TEST_CASE("a float16 holds what IEEE binary16 holds, rounded to nearest even") {
  CHECK(float16_t(1.0F).bits == 0x3c00);
  CHECK(float16_t(-2.0F).bits == 0xc000);
  CHECK(float16_t(65504.0F).bits == 0x7bff);
  CHECK(float16_t(65520.0F).bits == 0x7c00);         // infinity
  CHECK(float16_t(1.0F + 0x1p-11F).bits == 0x3c00);  // a tie, to even
  CHECK(float16_t(1.0F + 3 * 0x1p-11F).bits == 0x3c02);
  CHECK(float16_t(0x1p-24F).bits == 1);  // the smallest
  CHECK(static_cast<float>(float16_t(0x1p-24F)) == 0x1p-24F);
  CHECK(std::isnan(static_cast<float>(float16_t(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("a bfloat16 is the upper half of a float, rounded to nearest even") {
  CHECK(bfloat16_t(1.0F).bits == 0x3f80);
  CHECK(bfloat16_t(1.0F + 0x1p-8F).bits == 0x3f80);
  CHECK(bfloat16_t(1.0F + 3 * 0x1p-8F).bits == 0x3f82);
  CHECK(static_cast<float>(bfloat16_t(-3.5F)) == -3.5F);
  CHECK(std::isnan(static_cast<float>(bfloat16_t(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("every float16 and bfloat16 survives the way through float") {
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    float16_t half;
    half.bits = static_cast<std::uint16_t>(i);
    const float wide = half;
    if (!std::isnan(wide)) REQUIRE(float16_t(wide).bits == half.bits);
    bfloat16_t brain;
    brain.bits = static_cast<std::uint16_t>(i);
    const float wide_brain = brain;
    if (!std::isnan(wide_brain)) REQUIRE(bfloat16_t(wide_brain).bits == brain.bits);
  }
}

TEST_CASE("vectors of complex numbers and of halves are shared under their element type") {
  const auto type = [](const managed_tensor& t) { return t.view().dtype(); };
  CHECK(type(share(std::vector<std::complex<double>>(3))) == complex128);
  CHECK(type(share(std::vector<float16_t>(3))) == float16);
  CHECK(type(share(std::vector<bfloat16_t>(3))) == bfloat16);
}
