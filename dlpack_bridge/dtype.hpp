#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dlpack/dlpack.h>

namespace dlpack_bridge {

/// The element types the hub knows, numbered so that a set of them is one machine word.
// clang-format off
enum class dtype_id : std::uint8_t {
  boolean, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
  float16, float32, float64, bfloat16, complex32, complex64, complex128,
  float8_e3m4, float8_e4m3, float8_e4m3b11fnuz, float8_e4m3fn, float8_e4m3fnuz,
  float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu,
  float6_e2m3fn, float6_e3m2fn, float4_e2m1fn, float4_e2m1fn_x2,
  unknown,
};
// clang-format on

/// An element type as DLPack writes it: code, bits, lanes. Any value is representable; `id_of` says
/// whether the hub knows it.
struct dtype {
  std::uint8_t code = kDLFloat;
  std::uint8_t bits = 32;
  std::uint16_t lanes = 1;

  constexpr dtype() noexcept = default;
  constexpr explicit dtype(DLDataTypeCode c, int b, int l = 1) noexcept
      : code(static_cast<std::uint8_t>(c)), bits(static_cast<std::uint8_t>(b)),
        lanes(static_cast<std::uint16_t>(l)) {}
  constexpr dtype(DLDataType t) noexcept : code(t.code), bits(t.bits), lanes(t.lanes) {}
  constexpr operator DLDataType() const noexcept { return {code, bits, lanes}; }

  friend constexpr bool operator==(dtype a, dtype b) noexcept {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
  }

  /// Bits of one element with all its lanes.
  constexpr std::int64_t element_bits() const noexcept { return std::int64_t{bits} * lanes; }
  /// Bytes of one element; a packed sub-byte element counts as the byte that holds it.
  constexpr std::int64_t itemsize() const noexcept { return (element_bits() + 7) >> 3; }
  /// True when several elements share a byte (float4, float6).
  constexpr bool is_packed() const noexcept { return (bits * lanes & 7) != 0; }

  /// "float32", "bfloat16", "float4_e2m1fn_x2"; "dtype(code=0, bits=24, lanes=1)" when unknown.
  std::string name() const;
  /// The type of a name of the table below; empty when there is none.
  static std::optional<dtype> from_name(std::string_view name) noexcept;
};

inline constexpr dtype boolean{kDLBool, 8};
inline constexpr dtype int8{kDLInt, 8}, int16{kDLInt, 16}, int32{kDLInt, 32}, int64{kDLInt, 64};
inline constexpr dtype uint8{kDLUInt, 8}, uint16{kDLUInt, 16}, uint32{kDLUInt, 32},
    uint64{kDLUInt, 64};
inline constexpr dtype float16{kDLFloat, 16}, float32{kDLFloat, 32}, float64{kDLFloat, 64};
inline constexpr dtype bfloat16{kDLBfloat, 16};
inline constexpr dtype complex32{kDLComplex, 32}, complex64{kDLComplex, 64},
    complex128{kDLComplex, 128};

inline constexpr int known_dtypes = static_cast<int>(dtype_id::unknown);

/// Their names, in the same order.
// clang-format off
inline constexpr std::string_view dtype_names[known_dtypes] = {
  "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
  "float16", "float32", "float64", "bfloat16", "complex32", "complex64", "complex128",
  "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz",
  "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
  "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float4_e2m1fn_x2",
};
// clang-format on

/// The element type of each number, in the same order.
inline constexpr dtype dtype_rows[known_dtypes] = {
    boolean,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    float32,
    float64,
    bfloat16,
    complex32,
    complex64,
    complex128,
    dtype(kDLFloat8_e3m4, 8),
    dtype(kDLFloat8_e4m3, 8),
    dtype(kDLFloat8_e4m3b11fnuz, 8),
    dtype(kDLFloat8_e4m3fn, 8),
    dtype(kDLFloat8_e4m3fnuz, 8),
    dtype(kDLFloat8_e5m2, 8),
    dtype(kDLFloat8_e5m2fnuz, 8),
    dtype(kDLFloat8_e8m0fnu, 8),
    dtype(kDLFloat6_e2m3fn, 6),
    dtype(kDLFloat6_e3m2fn, 6),
    dtype(kDLFloat4_e2m1fn, 4),
    dtype(kDLFloat4_e2m1fn, 4, 2),
};

/// Numbers by element type, each in the one place that it can have.
class dtype_index {
 public:
  constexpr dtype_index() noexcept {
    for (int i = 0; i < known_dtypes; ++i) {
      slot& place = slots_[place_of(dtype_rows[i])];
      has_collision_ |= place.id != dtype_id::unknown;
      place = {dtype_rows[i], static_cast<dtype_id>(i)};
    }
  }
  constexpr dtype_id find(dtype t) const noexcept {
    const slot& place = slots_[place_of(t)];
    return place.type == t ? place.id : dtype_id::unknown;
  }
  constexpr bool has_collision() const noexcept { return has_collision_; }

 private:
  struct alignas(8) slot {
    dtype type;
    dtype_id id = dtype_id::unknown;
  };
  // A factor that was searched for: it sends the types of the table to different places.
  static constexpr std::size_t place_of(dtype t) noexcept {
    const std::uint32_t word = t.code | t.bits << 8 | static_cast<std::uint32_t>(t.lanes) << 16;
    return word * 0x6a0134c9U >> 27;
  }
  slot slots_[32]{};
  bool has_collision_ = false;
};
inline constexpr dtype_index dtype_numbers;
static_assert(!dtype_numbers.has_collision(), "a new element type needs another factor");

/// The number of an element type; `unknown` for every other combination of code, bits and lanes.
constexpr dtype_id id_of(dtype t) noexcept { return dtype_numbers.find(t); }

/// The element type of a number. Precondition: `id != dtype_id::unknown`.
constexpr dtype dtype_of(dtype_id id) noexcept { return dtype_rows[static_cast<int>(id)]; }

/// A set of known element types.
class dtype_set {
 public:
  constexpr dtype_set() noexcept = default;
  template <class... Ids>
  constexpr explicit dtype_set(Ids... ids) noexcept : bits_((bit(ids) | ... | 0U)) {}

  constexpr bool contains(dtype_id id) const noexcept { return (bits_ & bit(id)) != 0; }
  constexpr dtype_set with(dtype_set other) const noexcept { return from(bits_ | other.bits_); }
  constexpr dtype_set without(dtype_set other) const noexcept { return from(bits_ & ~other.bits_); }
  friend constexpr bool operator==(dtype_set, dtype_set) noexcept = default;

  /// Every type from `first` to `last`, both included.
  static constexpr dtype_set range(dtype_id first, dtype_id last) noexcept {
    return from((bit(last) << 1) - bit(first));
  }

 private:
  static constexpr std::uint32_t bit(dtype_id id) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(id);
  }
  static constexpr dtype_set from(std::uint32_t bits) noexcept {
    dtype_set set;
    set.bits_ = bits;
    return set;
  }
  std::uint32_t bits_ = 0;
};

inline constexpr dtype_set float8_dtypes =
    dtype_set::range(dtype_id::float8_e3m4, dtype_id::float8_e8m0fnu);
inline constexpr dtype_set packed_dtypes =
    dtype_set::range(dtype_id::float6_e2m3fn, dtype_id::float4_e2m1fn_x2);
inline constexpr dtype_set complex_dtypes =
    dtype_set::range(dtype_id::complex32, dtype_id::complex128);
/// What `copy` converts between: everything but the packed types.
inline constexpr dtype_set convertible_dtypes =
    dtype_set::range(dtype_id::boolean, dtype_id::float8_e8m0fnu);

/// The address multiple an element needs: a complex number aligns like its real part, a packed
/// element like a byte.
constexpr std::int64_t alignment_of(dtype t) noexcept {
  if (t.lanes != 1 || (t.bits & 7) != 0) return 1;
  return t.code == kDLComplex ? t.bits >> 4 : t.bits >> 3;
}

/// The unsigned integer of the same width; for packed types the byte that holds them. Empty for
/// 128 bits, which no framework has.
constexpr std::optional<dtype> bits_of(dtype t) noexcept {
  if (packed_dtypes.contains(id_of(t))) return uint8;
  if (t.lanes != 1 || t.bits > 64) return std::nullopt;
  return dtype(kDLUInt, t.bits);
}

}  // namespace dlpack_bridge
