#include <algorithm>
#include <array>
#include <bit>
#include <cfenv>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include <catch2/catch_test_macros.hpp>

#include "copy_ways.hpp"
#include <dlpack_bridge/copy.hpp>

using namespace dlpack_bridge;
using extents = std::vector<extent>;
using bytes = std::vector<std::byte>;

// ---- a reference that computes each value on its own ---------------------------------------------

namespace {

using whole = __int128;
constexpr int convertible = static_cast<int>(dtype_id::float8_e8m0fnu) + 1;

dtype_id id_at(int i) { return static_cast<dtype_id>(i); }
bool is_float8(dtype_id id) { return float8_dtypes.contains(id); }
bool is_integer(dtype_id id) { return id >= dtype_id::int8 && id <= dtype_id::uint64; }
bool is_complex(dtype_id id) { return complex_dtypes.contains(id); }

dtype_id part_of(dtype_id id) {
  switch (id) {
    case dtype_id::complex32: return dtype_id::float16;
    case dtype_id::complex64: return dtype_id::float32;
    case dtype_id::complex128: return dtype_id::float64;
    default: return id;
  }
}

/// How a small float spreads its bits, and which of them are special.
struct small_float {
  int bits, mantissa, bias;
  bool infinities;   // the highest exponent holds infinities and NaNs
  bool signed_zero;  // else the pattern of -0 is the only NaN
};

small_float format_of(dtype_id id) {
  switch (id) {
    case dtype_id::float16: return {16, 10, 15, true, true};
    case dtype_id::bfloat16: return {16, 7, 127, true, true};
    case dtype_id::float8_e3m4: return {8, 4, 3, true, true};
    case dtype_id::float8_e4m3: return {8, 3, 7, true, true};
    case dtype_id::float8_e4m3b11fnuz: return {8, 3, 11, false, false};
    case dtype_id::float8_e4m3fn: return {8, 3, 7, false, true};
    case dtype_id::float8_e4m3fnuz: return {8, 3, 8, false, false};
    case dtype_id::float8_e5m2: return {8, 2, 15, true, true};
    default: return {8, 2, 16, false, false};  // float8_e5m2fnuz
  }
}

std::uint64_t magnitude_mask(small_float f) { return (1ULL << (f.bits - 1)) - 1; }
std::uint64_t infinity_of(small_float f) { return (magnitude_mask(f) >> f.mantissa) << f.mantissa; }
std::uint64_t largest_of(small_float f) {
  if (f.infinities) return infinity_of(f) - 1;
  return f.signed_zero ? magnitude_mask(f) - 1 : magnitude_mask(f);
}

/// A float as its value, with a NaN in the upper bits as it was.
double decode(dtype_id id, std::uint64_t pattern) {
  if (id == dtype_id::float8_e8m0fnu) {
    return pattern == 0xff ? std::nan("") : std::ldexp(1.0, static_cast<int>(pattern) - 127);
  }
  const small_float f = format_of(id);
  const double sign = (pattern >> (f.bits - 1)) != 0 ? -1.0 : 1.0;
  const std::uint64_t magnitude = pattern & magnitude_mask(f);
  if (!f.signed_zero && magnitude == 0 && sign < 0) return -std::nan("");
  if (f.infinities && magnitude == infinity_of(f)) return sign * INFINITY;
  if (magnitude > largest_of(f)) return std::copysign(std::nan(""), sign);
  const auto exponent = static_cast<int>(magnitude >> f.mantissa);
  const auto fraction = static_cast<double>(magnitude & ((1ULL << f.mantissa) - 1));
  const double one = std::ldexp(1.0, f.mantissa);
  const double significand = exponent == 0 ? fraction : fraction + one;
  return sign * std::ldexp(significand, std::max(exponent, 1) - f.bias - f.mantissa);
}

/// Rounds a value to the nearest pattern, ties to the even one.
std::uint64_t encode(dtype_id id, double value) {
  if (id == dtype_id::float8_e8m0fnu) {
    if (!(value > 0) || value > 0x1.8p127) return 0xff;
    if (value <= 0x1p-127) return 0;
    if (value < 0x1p-126) return 1;
    const int exponent = std::ilogb(value);
    const bool up = value / std::ldexp(1.0, exponent) >= 1.5;
    return static_cast<std::uint64_t>(std::min(exponent + up + 127, 255));
  }
  const small_float f = format_of(id);
  const bool negative = std::signbit(value);
  const std::uint64_t sign = negative ? 1ULL << (f.bits - 1) : 0;
  if (std::isnan(value)) {
    if (!f.signed_zero) return 1ULL << (f.bits - 1);
    if (!f.infinities) return sign | magnitude_mask(f);
    return sign | infinity_of(f) | 1ULL << (f.mantissa - 1);
  }
  const double magnitude = std::fabs(value);
  const int exponent = magnitude == 0 ? 0 : std::max(std::ilogb(magnitude), 1 - f.bias);
  std::uint64_t pattern = magnitude_mask(f) + 1;
  if (!std::isinf(value) && exponent <= f.bias + 1) {
    // In units of the last place; rounding up may carry into the exponent, as it should.
    const double units = std::nearbyint(std::ldexp(magnitude, f.mantissa - exponent));
    pattern = static_cast<std::uint64_t>(units);
    if (magnitude != 0) {
      pattern += static_cast<std::uint64_t>(exponent - 1 + f.bias) << f.mantissa;
    }
  }
  if (pattern > largest_of(f)) {
    if (f.infinities) return sign | infinity_of(f);
    return f.signed_zero ? sign | magnitude_mask(f) : 1ULL << (f.bits - 1);
  }
  return pattern == 0 && !f.signed_zero ? 0 : pattern | sign;
}

/// One real number read from memory: an integer, or a float as it was stored.
struct number {
  dtype_id id;
  whole integer = 0;
  std::uint64_t pattern = 0;

  double value() const {
    if (id == dtype_id::float64) return std::bit_cast<double>(pattern);
    if (id == dtype_id::float32) return std::bit_cast<float>(static_cast<std::uint32_t>(pattern));
    return decode(id, pattern);
  }
};

std::uint64_t load(const std::byte* p, int bits) {
  std::uint64_t pattern = 0;
  std::memcpy(&pattern, p, static_cast<std::size_t>(bits / 8));  // little endian
  return pattern;
}

number read(dtype_id id, const std::byte* p) {
  const dtype type = dtype_of(id);
  number n{id, 0, load(p, type.bits)};
  if (id == dtype_id::boolean) n.integer = n.pattern != 0;
  if (is_integer(id)) {
    n.integer = static_cast<whole>(n.pattern);
    const bool negative = type.code == kDLInt && (n.pattern >> (type.bits - 1)) != 0;
    if (negative) n.integer -= whole{1} << type.bits;
  }
  return n;
}

bool is_true(number n) {
  return n.id == dtype_id::boolean || is_integer(n.id) ? n.integer != 0 : n.value() != 0;
}

/// The rule for floats that do not fit an integer, as copy documents it.
std::uint64_t to_integer(number n, dtype_id to) {
  const dtype target = dtype_of(to);
  const double value = n.value();
  const bool is_unsigned = target.code == kDLUInt;
  if (is_float8(n.id) && !std::isfinite(value)) {
    if (std::isnan(value)) return 0;
    const std::uint64_t all = ~0ULL >> (64 - target.bits);
    if (is_unsigned) return value > 0 ? all : 0;
    return value > 0 ? all >> 1 : (all >> 1) + 1;
  }
  if (to == dtype_id::uint64 && value >= 0x1p63) {
    return value < 0x1p64 ? static_cast<std::uint64_t>(value) : 0;
  }
  const bool wide = target.bits == 64 || (target.bits == 32 && is_unsigned);
  const double limit = wide ? 0x1p63 : 0x1p31;
  const bool fits = value > -limit - 1 && value < limit;
  if (!fits) return wide ? 1ULL << 63 : 1ULL << 31;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
}

/// float16 keeps the upper payload of a NaN from float32 and float64 and hands it back to them.
std::uint64_t widened_nan(std::uint64_t half, int mantissa) {
  const std::uint64_t exponent = mantissa == 23 ? 0xffULL << 23 : 0x7ffULL << 52;
  const std::uint64_t sign = (half >> 15) << (mantissa == 23 ? 31 : 63);
  return sign | exponent | (half & 0x3ff) << (mantissa - 10);
}
std::uint64_t narrowed_nan(number n) {
  const bool single = n.id == dtype_id::float32;
  const std::uint64_t payload = (n.pattern >> (single ? 13 : 42)) & 0x3ff;
  const std::uint64_t sign = (n.pattern >> (single ? 31 : 63)) << 15;
  return sign | 0x7c00 | (payload == 0 ? 1 : payload);
}

float as_single(number n) {
  if (n.id == dtype_id::boolean || n.id == dtype_id::uint64) {
    return static_cast<float>(static_cast<std::uint64_t>(n.integer));
  }
  if (is_integer(n.id)) return static_cast<float>(static_cast<std::int64_t>(n.integer));
  return static_cast<float>(n.value());
}

double as_double(number n) {
  if (n.id == dtype_id::boolean || n.id == dtype_id::uint64) {
    return static_cast<double>(static_cast<std::uint64_t>(n.integer));
  }
  if (is_integer(n.id)) return static_cast<double>(static_cast<std::int64_t>(n.integer));
  return n.value();
}

std::uint64_t to_float(number n, dtype_id to) {
  const bool whole_number = n.id == dtype_id::boolean || is_integer(n.id);
  const bool nan = !whole_number && std::isnan(n.value());
  if (to == dtype_id::float16) {
    if (nan && (n.id == dtype_id::float32 || n.id == dtype_id::float64)) return narrowed_nan(n);
    return encode(to, n.id == dtype_id::float64 ? n.value() : double{as_single(n)});
  }
  if (to == dtype_id::float64) {
    if (nan && n.id == dtype_id::float16) return widened_nan(n.pattern, 52);
    if (nan && n.id == dtype_id::bfloat16) {
      return std::bit_cast<std::uint64_t>(
          double{std::bit_cast<float>(static_cast<std::uint32_t>(n.pattern << 16))});
    }
    return std::bit_cast<std::uint64_t>(as_double(n));
  }
  if (to == dtype_id::float32) {
    if (nan && n.id == dtype_id::float16) return widened_nan(n.pattern, 23);
    if (nan && n.id == dtype_id::bfloat16) return n.pattern << 16;
    return std::bit_cast<std::uint32_t>(as_single(n));
  }
  return encode(to, double{as_single(n)});
}

/// The pattern of one real number in another type.
std::uint64_t converted(number n, dtype_id to) {
  if (n.id == to) return n.pattern;
  if (to == dtype_id::boolean) return is_true(n);
  if (!is_integer(to)) return to_float(n, to);
  if (n.id == dtype_id::boolean || is_integer(n.id)) return static_cast<std::uint64_t>(n.integer);
  return to_integer(n, to);
}

void convert_one(dtype_id from, const std::byte* in, dtype_id to, std::byte* out) {
  const dtype_id from_part = part_of(from), to_part = part_of(to);
  const auto from_bytes = dtype_of(from_part).itemsize(), to_bytes = dtype_of(to_part).itemsize();
  const number real = read(from_part, in);
  if (is_complex(from) && to == dtype_id::boolean) {
    *out = std::byte{is_true(real) || is_true(read(from_part, in + from_bytes))};
    return;
  }
  std::uint64_t pattern = converted(real, to_part);
  std::memcpy(out, &pattern, static_cast<std::size_t>(to_bytes));
  if (!is_complex(to)) return;
  pattern = is_complex(from) ? converted(read(from_part, in + from_bytes), to_part) : 0;
  std::memcpy(out + to_bytes, &pattern, static_cast<std::size_t>(to_bytes));
}

// ---- samples -------------------------------------------------------------------------------------

class generator {
 public:
  explicit generator(unsigned seed) : engine_(seed) {}
  extent number(extent low, extent high) {
    return std::uniform_int_distribution<extent>(low, high)(engine_);
  }
  std::byte byte() { return static_cast<std::byte>(engine_()); }
  bytes some(std::size_t count) {
    bytes result(count);
    for (std::byte& b : result) b = byte();
    return result;
  }

 private:
  std::mt19937 engine_;
};

void append(bytes& out, std::uint64_t pattern, int bits) {
  const std::size_t end = out.size();
  out.resize(end + static_cast<std::size_t>(bits / 8));
  std::memcpy(out.data() + end, &pattern, static_cast<std::size_t>(bits / 8));
}

/// Floats around everything where rounding or range changes, and their neighbours.
template <class Float, class Bits>
void append_floats(bytes& out) {
  std::vector<Float> values;
  for (int power = -160; power <= 130; ++power) {
    const auto unit = static_cast<Float>(std::ldexp(1.0, power));
    for (const double factor :
         {1.0, 1.0 + 0x1p-11, 1.0 + 0x3p-11, 1.0 + 0x1p-8, 1.0 + 0x3p-8, 1.125, 1.0625, 1.1875,
          1.25, 1.375, 1.5, 1.75, 1.875, 1.9375, 1.96875}) {
      values.push_back(static_cast<Float>(unit * static_cast<Float>(factor)));
    }
  }
  for (const Float v : values) {
    for (const Float w : {v, std::nextafter(v, Float{0}), std::nextafter(v, Float{INFINITY})}) {
      append(out, std::bit_cast<Bits>(w), 8 * sizeof(Bits));
      append(out, std::bit_cast<Bits>(-w), 8 * sizeof(Bits));
    }
  }
  using limits = std::numeric_limits<Float>;
  const Bits infinity = std::bit_cast<Bits>(limits::infinity());
  for (const Bits b :
       {Bits{0}, std::bit_cast<Bits>(limits::max()), infinity, infinity + 1,
        std::bit_cast<Bits>(limits::quiet_NaN()), static_cast<Bits>(~Bits{0}),
        static_cast<Bits>(~Bits{0} >> 1), static_cast<Bits>(infinity | infinity >> 7)}) {
    append(out, b, 8 * sizeof(Bits));
    append(out, b ^ (Bits{1} << (8 * sizeof(Bits) - 1)), 8 * sizeof(Bits));
  }
}

/// All values of small types, the interesting ones and some others of large types.
bytes samples_of(dtype_id id) {
  const dtype part = dtype_of(part_of(id));
  bytes out;
  if (part.bits <= 16) {
    for (std::uint64_t i = 0; i < 1ULL << part.bits; ++i) append(out, i, part.bits);
  } else if (part == float32) {
    append_floats<float, std::uint32_t>(out);
  } else if (part == float64) {
    append_floats<double, std::uint64_t>(out);
  } else {
    for (int shift = 0; shift < part.bits; ++shift) {
      for (int delta = -3; delta <= 3; ++delta) {
        append(out, (1ULL << shift) + static_cast<std::uint64_t>(delta), part.bits);
        append(out, ~(1ULL << shift) + static_cast<std::uint64_t>(delta), part.bits);
      }
    }
  }
  generator random(static_cast<unsigned>(id));
  for (int i = 0; i < 4000; ++i) append(out, load(random.some(8).data(), 64), part.bits);
  out.resize(out.size() - out.size() % static_cast<std::size_t>(dtype_of(id).itemsize()));
  return out;
}

void copy_dense(const bytes& in, dtype from, bytes& out, dtype to, element_change change = {}) {
  const extent shape[] = {static_cast<extent>(in.size()) / from.itemsize()};
  const extent from_strides[] = {from.itemsize()}, to_strides[] = {to.itemsize()};
  out.resize(static_cast<std::size_t>(shape[0] * to.itemsize()));
  copy(shape, 1, {const_cast<std::byte*>(in.data()), from_strides, from},
       {out.data(), to_strides, to}, change);
}

}  // namespace

TEST_CASE("every pair of types gives the value of the reference", "[copy]") {
  for (int i = 0; i < convertible; ++i) {
    const dtype from = dtype_of(id_at(i));
    const bytes in = samples_of(id_at(i));
    const std::size_t count = in.size() / static_cast<std::size_t>(from.itemsize());
    for (int j = 0; j < convertible; ++j) {
      const dtype to = dtype_of(id_at(j));
      const auto size = static_cast<std::size_t>(to.itemsize());
      bytes out, expected(count * size);
      copy_dense(in, from, out, to);
      for (std::size_t k = 0; k < count; ++k) {
        convert_one(id_at(i), in.data() + k * static_cast<std::size_t>(from.itemsize()), id_at(j),
                    expected.data() + k * size);
      }
      const auto wrong = std::mismatch(out.begin(), out.end(), expected.begin()).first;
      const std::size_t at = static_cast<std::size_t>(wrong - out.begin()) / size;
      INFO(from.name() << " to " << to.name() << ", sample " << at << " of " << count);
      REQUIRE(wrong == out.end());
    }
  }
}

TEST_CASE("known values of the small floats", "[copy]") {
  struct row {
    const char* type;
    float value;
    std::uint8_t pattern;
  };
  constexpr float inf = std::numeric_limits<float>::infinity();
  // As ml_dtypes 0.6 converts them.
  const row rows[] = {
      {"float8_e4m3fn", 448, 0x7e},     {"float8_e4m3fn", 464, 0x7e},
      {"float8_e4m3fn", 465, 0x7f},     {"float8_e4m3fn", -inf, 0xff},
      {"float8_e4m3fn", -0.0F, 0x80},   {"float8_e4m3", 240, 0x77},
      {"float8_e4m3", 248, 0x78},       {"float8_e4m3", -inf, 0xf8},
      {"float8_e4m3fnuz", 240, 0x7f},   {"float8_e4m3fnuz", 250, 0x80},
      {"float8_e4m3fnuz", -0.0F, 0x00}, {"float8_e4m3fnuz", inf, 0x80},
      {"float8_e4m3b11fnuz", 30, 0x7f}, {"float8_e4m3b11fnuz", 31, 0x80},
      {"float8_e5m2", 57344, 0x7b},     {"float8_e5m2", 61440, 0x7c},
      {"float8_e5m2fnuz", 57344, 0x7f}, {"float8_e5m2fnuz", -57344, 0xff},
      {"float8_e3m4", 15.5F, 0x6f},     {"float8_e3m4", 15.75F, 0x70},
      {"float8_e8m0fnu", 1, 0x7f},      {"float8_e8m0fnu", 1.5F, 0x80},
      {"float8_e8m0fnu", 0, 0xff},      {"float8_e8m0fnu", -1, 0xff},
      {"float8_e8m0fnu", 1e-40F, 0x00}, {"float8_e8m0fnu", 3e38F, 0xff},
  };
  for (const row& r : rows) {
    bytes in(4), out;
    std::memcpy(in.data(), &r.value, 4);
    copy_dense(in, float32, out, *dtype::from_name(r.type));
    INFO(r.type << " of " << r.value);
    CHECK(out[0] == std::byte{r.pattern});
  }
}

TEST_CASE("float64 to float16 rounds once", "[copy]") {
  // Through float32 this would become a tie and round down.
  const double value = 1 + 0x1p-11 + 0x1p-40;
  bytes in(8), out;
  std::memcpy(in.data(), &value, 8);
  copy_dense(in, float64, out, float16);
  CHECK(load(out.data(), 16) == 0x3c01);
}

TEST_CASE("floats that do not fit an integer follow one rule", "[copy]") {
  const auto one = [](float value, dtype to) {
    bytes in(4), out;
    std::memcpy(in.data(), &value, 4);
    copy_dense(in, float32, out, to);
    return load(out.data(), to.bits);
  };
  CHECK(one(NAN, int32) == 0x80000000);
  CHECK(one(3e9F, int32) == 0x80000000);
  CHECK(one(3e9F, int8) == 0);
  CHECK(one(300, uint8) == 44);
  CHECK(one(-1, uint32) == 0xffffffff);
  CHECK(one(-1, uint64) == ~0ULL);
  CHECK(one(NAN, int64) == 1ULL << 63);
  CHECK(one(0x1p63F, uint64) == 1ULL << 63);
  CHECK(one(0x1p64F, uint64) == 0);
}

// ---- layouts -------------------------------------------------------------------------------------

namespace {

/// An array somewhere inside its own memory.
struct placed {
  bytes memory;
  extents strides;  // in bytes
  extent start = 0;

  std::byte* data() { return memory.data() + start; }
};

/// How an array of any shape is laid out: the order of its axes from the outermost to the innermost
/// in memory, and for each axis a factor and a direction.
struct arrangement {
  const char* name;
  bool reversed_order = false;
  extent spread = 1;   // of every stride
  extent padding = 0;  // bytes behind every axis
  bool backward = false;
  extent offset = 0;  // bytes before the first element
};

constexpr arrangement arrangements[] = {
    {"dense"},
    {"dense at an odd address", false, 1, 0, false, 1},
    {"column-major", true},
    {"every second", false, 2},
    {"every third, backward", false, 3, 0, true},
    {"backward", false, 1, 0, true},
    {"column-major, backward", true, 1, 0, true},
    {"padded", false, 1, 8},
    {"padded by one byte", false, 1, 1},
    {"column-major, backward, padded by one byte", true, 1, 1, true, 3},
};

placed place(const arrangement& how, const extents& shape, extent itemsize) {
  placed result;
  result.strides.resize(shape.size());
  extent step = itemsize, reach = itemsize;
  for (std::size_t k = 0; k < shape.size(); ++k) {
    const std::size_t axis = how.reversed_order ? k : shape.size() - 1 - k;
    const extent stride = step * (k == 0 ? how.spread : 1);
    result.strides[axis] = how.backward ? -stride : stride;
    reach += stride * std::max<extent>(shape[axis] - 1, 0);
    if (how.backward) result.start += stride * std::max<extent>(shape[axis] - 1, 0);
    step = stride * std::max<extent>(shape[axis], 1) + how.padding;
  }
  result.start += how.offset;
  result.memory.resize(static_cast<std::size_t>(reach + how.offset));
  return result;
}

template <class Visit>
void for_each_index(const extents& shape, const Visit& visit) {
  extents index(shape.size(), 0);
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  while (true) {
    visit(index);
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

std::byte* element(placed& array, const extents& index) {
  std::byte* p = array.data();
  for (std::size_t i = 0; i < index.size(); ++i) p += index[i] * array.strides[i];
  return p;
}

/// One element at a time, through the same function: what a copy has to give for every layout.
void copy_one_by_one(const extents& shape, placed& from, dtype from_type, placed& to, dtype to_type,
                     element_change change = {}) {
  for_each_index(shape, [&](const extents& index) {
    copy(nullptr, 0, {element(from, index), nullptr, from_type},
         {element(to, index), nullptr, to_type}, change);
  });
}

void check_layouts(const extents& shape, const arrangement& in, dtype from_type,
                   const arrangement& out, dtype to_type, element_change change = {}) {
  placed from = place(in, shape, from_type.itemsize());
  generator random(1);
  for (std::byte& b : from.memory) b = random.byte();
  placed to = place(out, shape, to_type.itemsize());
  std::fill(to.memory.begin(), to.memory.end(), std::byte{0xa5});
  placed expected = to;
  copy(shape.data(), static_cast<std::int32_t>(shape.size()),
       {from.data(), from.strides.data(), from_type}, {to.data(), to.strides.data(), to_type},
       change);
  copy_one_by_one(shape, from, from_type, expected, to_type, change);
  if (to.memory == expected.memory) return;
  FAIL_CHECK(from_type.name() << " " << in.name << " to " << to_type.name() << " " << out.name
                              << ", shape of " << shape.size() << " axes from " << shape[0]);
}

}  // namespace

TEST_CASE("every pair of types gives the same values in every layout", "[copy]") {
  const extents shape{3, 5, 19};
  for (int i = 0; i < convertible; ++i) {
    for (int j = 0; j < convertible; ++j) {
      const arrangement& in = arrangements[(i + j) % std::size(arrangements)];
      const arrangement& out = arrangements[(i + 3 * j + 1) % std::size(arrangements)];
      for (const arrangement& a : arrangements) {
        check_layouts(shape, a, dtype_of(id_at(i)), out, dtype_of(id_at(j)));
        check_layouts(shape, in, dtype_of(id_at(i)), a, dtype_of(id_at(j)));
      }
    }
  }
}

namespace {

/// Each arrangement of one side with a third of the other's; `round` picks which.
template <class Check>
void for_each_arrangement_pair(int round, const Check& check) {
  for (const arrangement& in : arrangements) {
    for (const arrangement& out : arrangements) {
      if (round++ % 3 == 0) check(in, out);
    }
    ++round;
  }
}

}  // namespace

TEST_CASE("elements of every size are moved between all layouts of all shapes", "[copy]") {
  const extents shapes[] = {
      {1},       {7},        {300},      {2, 3},       {3, 700},          {700, 3},
      {2, 500},  {500, 2},   {4, 333},   {333, 4},     {65, 33},          {130, 70},
      {5, 1, 3}, {9, 17, 3}, {3, 9, 17}, {2, 3, 4, 5}, {2, 2, 2, 2, 2, 2}};
  const dtype types[] = {uint8,
                         uint16,
                         uint32,
                         uint64,
                         complex128,
                         dtype(kDLUInt, 8, 3),
                         dtype(kDLFloat, 32, 3),
                         dtype(kDLFloat, 64, 4),
                         dtype(kDLUInt, 24)};
  int round = 0;
  for (const extents& shape : shapes) {
    for (const dtype type : types) {
      for_each_arrangement_pair(round++, [&](const arrangement& in, const arrangement& out) {
        check_layouts(shape, in, type, out, type);
      });
    }
  }
}

TEST_CASE("conversions of long, short, narrow and wide blocks agree", "[copy]") {
  // The last ones fill the buffers of a tile.
  const extents shapes[] = {{3000},    {3, 300},  {300, 3},  {70, 65},  {700, 2},
                            {17, 100}, {3, 9000}, {7, 1100}, {2500, 3}, {130, 16}};
  const std::array<dtype, 2> pairs[] = {{uint8, float32},
                                        {float32, uint8},
                                        {float64, float16},
                                        {float16, float64},
                                        {uint8, bfloat16},
                                        {float32, float64},
                                        {complex64, complex128},
                                        {complex128, complex32},
                                        {float32, complex128},
                                        {complex64, uint8},
                                        {complex128, boolean},
                                        {boolean, bfloat16},
                                        {dtype(kDLFloat8_e4m3fn, 8), complex128}};
  int round = 0;
  for (const extents& shape : shapes) {
    for (const auto& pair : pairs) {
      for_each_arrangement_pair(round++, [&](const arrangement& in, const arrangement& out) {
        check_layouts(shape, in, pair[0], out, pair[1]);
      });
    }
  }
}

TEST_CASE("a broadcast source is repeated", "[copy]") {
  for (const dtype type : {uint8, uint16, float32, float64, complex128}) {
    generator random(2);
    bytes in = random.some(16 * 40);
    bytes out(static_cast<std::size_t>(30 * 40 * type.itemsize())), expected = out;
    const extent size = type.itemsize();
    const extent shape[] = {30, 40}, dense[] = {40 * size, size};
    for (const bool rows : {false, true}) {
      const extent strides[] = {rows ? 0 : size, rows ? size : 0};
      copy(shape, 2, {in.data(), strides, type}, {out.data(), dense, type});
      for (extent i = 0; i < 30; ++i) {
        for (extent j = 0; j < 40; ++j) {
          std::memcpy(expected.data() + (i * 40 + j) * size,
                      in.data() + i * strides[0] + j * strides[1], static_cast<std::size_t>(size));
        }
      }
      CHECK(out == expected);
    }
  }
}

TEST_CASE("nothing but the elements of the destination is written", "[copy]") {
  bytes in(64, std::byte{1}), out(64, std::byte{7});
  const extent shape[] = {5}, from[] = {4}, to[] = {11};
  copy(shape, 1, {in.data(), from, float32}, {out.data() + 3, to, float32});
  for (int i = 0; i < 64; ++i) {
    const int behind = i - 3;
    const bool inside = behind >= 0 && behind < 5 * 11 && behind % 11 < 4;
    CHECK(out[static_cast<std::size_t>(i)] == (inside ? std::byte{1} : std::byte{7}));
  }
}

TEST_CASE("empty arrays copy nothing", "[copy]") {
  const extent shape[] = {3, 0, 5}, strides[] = {8, 8, 8};
  copy(shape, 3, {nullptr, strides, float32}, {nullptr, strides, float64});
  copy(shape, 3, {nullptr, nullptr, float32}, {nullptr, nullptr, float32});
}

TEST_CASE("absent strides are row-major", "[copy]") {
  const extent shape[] = {2, 3}, transposed[] = {4, 8};
  const float in[] = {1, 2, 3, 4, 5, 6};
  float out[6] = {};
  copy(shape, 2, {const_cast<float*>(in), nullptr, float32}, {out, transposed, float32});
  CHECK(std::equal(out, out + 6, std::begin({1.F, 4.F, 2.F, 5.F, 3.F, 6.F})));
}

// ---- large arrays: threads and streaming stores ----------------------------------------------------

namespace {

/// Compares with a plain loop over two axes.
template <class From, class To>
void check_large(extent rows, extent columns, bool transposed, extent offset = 0) {
  std::vector<From> in(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<From>(i * 2654435761U % 251);
  bytes out(in.size() * sizeof(To) + 64);
  std::byte* const to = out.data() + offset;
  constexpr extent from_size = sizeof(From), to_size = sizeof(To);
  const extent shape[] = {rows, columns};
  const extent dense[] = {columns * from_size, from_size}, other[] = {from_size, rows * from_size};
  const extent to_strides[] = {columns * to_size, to_size};
  const auto type_of = []<class T>(T) {
    return std::is_integral_v<T> ? dtype(kDLUInt, 8 * sizeof(T)) : dtype(kDLFloat, 8 * sizeof(T));
  };
  copy(shape, 2, {in.data(), transposed ? other : dense, type_of(From{})},
       {to, to_strides, type_of(To{})});
  extent wrong = 0;
  for (extent i = 0; i < rows; ++i) {
    for (extent j = 0; j < columns; ++j) {
      To value;
      std::memcpy(&value, to + (i * columns + j) * to_size, sizeof(To));
      wrong +=
          value != static_cast<To>(
                       in[static_cast<std::size_t>(transposed ? j * rows + i : i * columns + j)]);
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("large copies are right at every alignment, in every way", "[copy]") {
  detail::in_every_way([] {
    for (const extent offset : {0, 4, 5, 16}) {
      check_large<float, float>(1, 5'000'003, false, offset);
      check_large<float, float>(1501, 1499, true, offset);
      check_large<float, float>(1024, 1040, true, offset);
      check_large<float, float>(128, 144, true, offset);
    }
  });
}

TEST_CASE("large conversions are right, in every way", "[copy]") {
  detail::in_every_way([] {
    check_large<std::uint8_t, float>(1, 8'000'001, false);
    check_large<double, float>(3, 1'500'001, false, 3);
    check_large<std::uint8_t, float>(1501, 1499, true);
    check_large<double, std::uint8_t>(2001, 1499, true, 1);
    check_large<std::uint8_t, double>(1, 300'001, false, 8);
    check_large<std::uint8_t, double>(1, 4'000'001, false, 8);
    check_large<float, double>(90, 91, true, 8);
    check_large<float, double>(128, 128, true, 8);
    check_large<float, double>(601, 1024, true, 24);
    check_large<float, double>(1024, 505, true, 3);
    check_large<std::uint16_t, std::uint16_t>(2000, 1003, true, 2);
  });
}

TEST_CASE("a large array of few pixels and many planes is split and joined, in every way",
          "[copy]") {
  detail::in_every_way([] {
    check_large<float, float>(3, 1'000'001, true);
    check_large<float, float>(1'000'001, 3, true);
    check_large<std::uint8_t, float>(4, 700'001, true, 4);
    check_large<float, std::uint8_t>(700'001, 2, true, 1);
  });
}

// ---- the arithmetic of the calling thread --------------------------------------------------------

TEST_CASE("results do not depend on the rounding mode of the calling thread", "[copy]") {
  // Large enough for threads, which have modes of their own.
  const std::vector<double> in(300'000, 0.1);
  const extent shape[] = {static_cast<extent>(in.size())};
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::vector<float> out(in.size());
    REQUIRE(std::fesetround(mode) == 0);
    copy(shape, 1, {const_cast<double*>(in.data()), nullptr, float64},
         {out.data(), nullptr, float32});
    const int after = std::fegetround();
    std::fesetround(FE_TONEAREST);
    CHECK(after == mode);
    CHECK(std::all_of(out.begin(), out.end(), [](float x) { return x == 0.1F; }));
  }
}

#ifdef __SSE2__
TEST_CASE("subnormal numbers are kept where the calling thread flushes them", "[copy]") {
  const float in[] = {1e-40F, -1e-42F};
  double out[2];
  const extent shape[] = {2};
  constexpr unsigned flush_and_ignore = 0x8040;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | flush_and_ignore);
  copy(shape, 1, {const_cast<float*>(in), nullptr, float32}, {out, nullptr, float64});
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK((after & flush_and_ignore) == flush_and_ignore);
  CHECK(out[0] == double{in[0]});
  CHECK(out[1] == double{in[1]});
}
#endif

// ---- changes on the way --------------------------------------------------------------------------

TEST_CASE("a byte-swapped source becomes native, in every type and layout", "[copy]") {
  for (const dtype type : {int16, float16, bfloat16, int32, float32, int64, float64, complex32,
                           complex64, complex128, uint8, boolean, dtype(kDLFloat, 32, 3)}) {
    const bytes in = samples_of(id_of(type) == dtype_id::unknown ? dtype_id::float32 : id_of(type));
    const extent part = type.code == kDLComplex ? type.bits / 16 : type.bits / 8;
    bytes swapped(in.begin(),
                  in.begin() + static_cast<extent>(in.size()) / type.itemsize() * type.itemsize());
    const bytes native = swapped;
    for (extent i = 0; i < static_cast<extent>(swapped.size()); i += part) {
      std::reverse(swapped.begin() + i, swapped.begin() + i + part);
    }
    bytes out;
    copy_dense(swapped, type, out, type, {.swap_bytes = true});
    INFO(type.name());
    CHECK(out == native);
    for (const arrangement& a : arrangements) {
      check_layouts({5, 70}, a, type, arrangements[0], type, {.swap_bytes = true});
      check_layouts({5, 70}, arrangements[2], type, a, type, {.swap_bytes = true});
    }
  }
}

TEST_CASE("a byte-swapped source is converted", "[copy]") {
  const std::uint32_t one = __builtin_bswap32(std::bit_cast<std::uint32_t>(1.5F));
  bytes in(4), out;
  std::memcpy(in.data(), &one, 4);
  copy_dense(in, float32, out, float64, {.swap_bytes = true});
  CHECK(std::bit_cast<double>(load(out.data(), 64)) == 1.5);
}

TEST_CASE("conjugation changes the sign of imaginary parts before the conversion", "[copy]") {
  const std::complex<float> in[] = {{1, 2}, {-3, 0}, {0, -4}};
  std::complex<double> out[3];
  const extent shape[] = {3};
  const strided_memory from{const_cast<std::complex<float>*>(in), nullptr, complex64};
  copy(shape, 1, from, {out, nullptr, complex128}, {.conjugate = true});
  for (int i = 0; i < 3; ++i) {
    CHECK(out[i] == std::complex<double>(std::conj(in[i])));
    CHECK(std::signbit(out[i].imag()) != std::signbit(in[i].imag()));
  }
  for (const arrangement& a : arrangements) {
    for (const dtype type : {complex32, complex64, complex128}) {
      check_layouts({5, 70}, a, type, arrangements[0], type, {.conjugate = true});
    }
  }
}

TEST_CASE("conjugation of real numbers changes nothing", "[copy]") {
  const bytes in = samples_of(dtype_id::float16);
  bytes out;
  copy_dense(in, float16, out, float16, {.conjugate = true});
  CHECK(out == in);
}

TEST_CASE("negation changes every sign and wraps integers", "[copy]") {
  const auto negated = [](dtype_id id) {
    bytes out;
    copy_dense(samples_of(id), dtype_of(id), out, dtype_of(id), {.negate = true});
    return out;
  };
  for (int i = 1; i < convertible; ++i) {
    const dtype_id id = id_at(i), part = part_of(id);
    const bytes in = samples_of(id), out = negated(id);
    const int bits = dtype_of(part).bits;
    const std::uint64_t mask = ~0ULL >> (64 - bits), sign = 1ULL << (bits - 1);
    bool right = true;
    for (std::size_t k = 0; k < in.size(); k += static_cast<std::size_t>(bits / 8)) {
      const std::uint64_t before = load(&in[k], bits), after = load(&out[k], bits);
      std::uint64_t expected = before ^ sign;
      if (is_integer(part)) expected = (0 - before) & mask;
      if (part == dtype_id::float8_e8m0fnu) expected = 0xff;
      const bool one_zero =
          is_float8(part) && part != dtype_id::float8_e8m0fnu && !format_of(part).signed_zero;
      if (one_zero && (before & 0x7f) == 0) expected = before;
      right &= after == expected;
    }
    INFO(dtype_of(id).name());
    CHECK(right);
  }
}

TEST_CASE("all changes together come before the conversion", "[copy]") {
  for (const arrangement& a : arrangements) {
    for (const auto& [from, to] :
         {std::array{complex64, complex128}, std::array{complex64, float32},
          std::array{float64, int32}, std::array{complex128, boolean}}) {
      check_layouts({9, 33}, a, from, arrangements[3], to, {true, true, true});
    }
  }
}

// ---- what is refused -----------------------------------------------------------------------------

TEST_CASE("every pair of convertible types can be copied, and any type into itself", "[copy]") {
  CHECK(can_copy(boolean, complex128));
  CHECK(can_copy(dtype(kDLFloat8_e4m3, 8), int64));
  CHECK(can_copy(dtype(kDLFloat, 24), dtype(kDLFloat, 24)));
  CHECK(can_copy(dtype(kDLFloat6_e2m3fn, 6), dtype(kDLFloat6_e2m3fn, 6)));
  CHECK_FALSE(can_copy(dtype(kDLFloat6_e2m3fn, 6), float32));
  CHECK_FALSE(can_copy(float32, dtype(kDLFloat, 32, 2)));
  CHECK_FALSE(can_copy(dtype(kDLFloat, 24), float32));
}

TEST_CASE("a pair that cannot be converted is refused", "[copy]") {
  const extent shape[] = {2};
  std::byte in[64]{}, out[64]{};
  const strided_memory from{in, nullptr, dtype(kDLFloat, 24)};
  CHECK_THROWS_AS(copy(shape, 1, from, {out, nullptr, float32}), std::invalid_argument);
}

TEST_CASE("elements of unknown meaning are neither swapped nor negated", "[copy]") {
  const extent shape[] = {2};
  std::byte in[64]{}, out[64]{};
  const strided_memory from{in, nullptr, dtype(kDLFloat, 24)};
  const strided_memory to{out, nullptr, dtype(kDLFloat, 24)};
  CHECK_THROWS_AS(copy(shape, 1, from, to, {.swap_bytes = true}), std::invalid_argument);
  CHECK_THROWS_AS(copy(shape, 1, from, to, {.negate = true}), std::invalid_argument);
  const dtype odd(kDLComplex, 24);
  CHECK_THROWS_AS(copy(shape, 1, {in, nullptr, odd}, {out, nullptr, odd}, {.conjugate = true}),
                  std::invalid_argument);
}

TEST_CASE("every lane of an element is changed", "[copy]") {
  const extent shape[] = {1};
  const std::complex<float> in[] = {{1, 2}, {3, 4}};
  std::complex<float> out[2];
  const dtype two(kDLComplex, 64, 2);
  copy(shape, 1, {const_cast<std::complex<float>*>(in), nullptr, two}, {out, nullptr, two},
       {.conjugate = true, .negate = true});
  CHECK(out[0] == std::complex<float>(-1, 2));
  CHECK(out[1] == std::complex<float>(-3, 4));
}

TEST_CASE("elements without a bit are nothing to copy", "[copy]") {
  const extent shape[] = {3};
  std::byte in[4]{}, out[4]{std::byte{1}};
  for (const dtype type : {dtype(kDLFloat, 0), dtype(kDLFloat, 32, 0)}) {
    copy(shape, 1, {in, nullptr, type}, {out, nullptr, type});
    CHECK(out[0] == std::byte{1});
  }
}

TEST_CASE("packed elements are copied between contiguous arrays only", "[copy]") {
  const dtype float4(kDLFloat4_e2m1fn, 4);
  const extent shape[] = {3, 5}, transposed[] = {1, 3};
  const bytes in = generator(3).some(8);
  bytes out(9);
  copy(shape, 2, {const_cast<std::byte*>(in.data()), nullptr, float4},
       {out.data(), nullptr, float4});
  CHECK(std::equal(in.begin(), in.end(), out.begin()));
  CHECK(out[8] == std::byte{0});
  CHECK_THROWS_AS(copy(shape, 2, {out.data(), transposed, float4}, {out.data(), nullptr, float4}),
                  std::invalid_argument);
}

// ---- views ---------------------------------------------------------------------------------------

TEST_CASE("a view is copied into another of its shape", "[copy]") {
  const float in[] = {1, 2, 3, 4, 5, 6};
  double out[6] = {};
  const extent shape[] = {2, 3}, transposed[] = {1, 2};
  const tensor_view from(const_cast<float*>(in), shape, transposed, 2, float32, {}, true);
  copy(from, tensor_view(out, shape, nullptr, 2, float64));
  CHECK(std::equal(out, out + 6, std::begin({1., 3., 5., 2., 4., 6.})));
}

TEST_CASE("views that cannot be copied are refused", "[copy]") {
  float in[6] = {}, out[6] = {};
  const extent shape[] = {2, 3}, other[] = {3, 2};
  const tensor_view from(in, shape, nullptr, 2, float32);
  const auto refused = [&](const tensor_view& a, const tensor_view& b) {
    CHECK_THROWS_AS(copy(a, b), std::invalid_argument);
  };
  refused(from, tensor_view(out, other, nullptr, 2, float32));
  refused(from, tensor_view(out, shape, nullptr, 1, float32));
  refused(from, tensor_view(out, shape, nullptr, 2, float32, {}, true));
  refused(from, tensor_view(out, shape, nullptr, 2, dtype(kDLFloat, 24)));
  refused(from, tensor_view(out, shape, nullptr, 2, float32, device(kDLCUDA)));
  refused(tensor_view(in, shape, nullptr, 2, float32, device(kDLMetal)), from);
}

TEST_CASE("a destination whose elements share memory is refused, a source is not", "[copy]") {
  float in[6] = {1, 2, 3, 4, 5, 6}, out[6] = {};
  const extent shape[] = {2, 3}, repeated[] = {0, 1}, sliding[] = {1, 1}, backward[] = {-3, -1};
  const tensor_view from(in, shape, nullptr, 2, float32);
  for (const extent* strides : {repeated, sliding}) {
    CHECK_THROWS_AS(copy(from, tensor_view(out, shape, strides, 2, float32)),
                    std::invalid_argument);
    CHECK_NOTHROW(copy(tensor_view(in, shape, strides, 2, float32),
                       tensor_view(out, shape, nullptr, 2, float32)));
  }
  copy(from, tensor_view(out + 5, shape, backward, 2, float32));
  CHECK(std::equal(out, out + 6, std::begin({6.F, 5.F, 4.F, 3.F, 2.F, 1.F})));
}
