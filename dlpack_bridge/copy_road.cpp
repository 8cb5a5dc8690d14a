#include <dlpack_bridge/copy_road.hpp>

#include <stdexcept>

#include <dlpack_bridge/copy_kernels.hpp>

namespace dlpack_bridge::detail {
namespace {

using id = dtype_id;

constexpr bool is_integer(id t) { return t >= id::int8 && t <= id::uint64; }
constexpr bool is_float8(id t) { return float8_dtypes.contains(t); }
constexpr bool is_complex(id t) { return complex_dtypes.contains(t); }

/// The type of the parts of a complex number; every other type itself.
constexpr id part_of(id t) {
  if (t == id::complex32) return id::float16;
  if (t == id::complex64) return id::float32;
  return t == id::complex128 ? id::float64 : t;
}

/// The number of the operation that `Op` makes for the integer type `t`.
template <template <class> class Op>
std::uint8_t for_integer(id t) {
  switch (t) {
    case id::int8: return id_of_operation<Op<i8>>;
    case id::int16: return id_of_operation<Op<i16>>;
    case id::int32: return id_of_operation<Op<i32>>;
    case id::int64: return id_of_operation<Op<i64>>;
    case id::uint8: return id_of_operation<Op<u8>>;
    case id::uint16: return id_of_operation<Op<u16>>;
    case id::uint32: return id_of_operation<Op<u32>>;
    default: return id_of_operation<Op<u64>>;
  }
}

/// The same for unsigned integers of some bits.
template <template <class> class Op>
std::uint8_t for_bits(int bits) {
  if (bits == 16) return id_of_operation<Op<u16>>;
  return bits == 32 ? id_of_operation<Op<u32>> : id_of_operation<Op<u64>>;
}

template <class T>
using integer_to_single = to_float<T, float>;
template <class T>
using integer_to_double = to_float<T, double>;
template <class T>
using single_to_integer = to_integer<float, T>;
template <class T>
using double_to_integer = to_integer<double, T>;

std::uint8_t narrowing(int from_bits, int to_bits) {
  if (from_bits == 16) return id_of_operation<resize<u16, u8>>;
  if (from_bits == 32) {
    return to_bits == 16 ? id_of_operation<resize<u32, u16>> : id_of_operation<resize<u32, u8>>;
  }
  if (to_bits == 32) return id_of_operation<resize<u64, u32>>;
  return to_bits == 16 ? id_of_operation<resize<u64, u16>> : id_of_operation<resize<u64, u8>>;
}

template <class I8, class I16, class I32, class I64>
std::uint8_t extending(int from_bits, int to_bits) {
  if (from_bits == 32) return id_of_operation<resize<I32, I64>>;
  if (from_bits == 16) {
    return to_bits == 32 ? id_of_operation<resize<I16, I32>> : id_of_operation<resize<I16, I64>>;
  }
  if (to_bits == 16) return id_of_operation<resize<I8, I16>>;
  return to_bits == 32 ? id_of_operation<resize<I8, I32>> : id_of_operation<resize<I8, I64>>;
}

template <template <float8_format> class Op>
std::uint8_t for_float8(id t) {
  switch (t) {
    case id::float8_e3m4: return id_of_operation<Op<e3m4>>;
    case id::float8_e4m3: return id_of_operation<Op<e4m3>>;
    case id::float8_e4m3b11fnuz: return id_of_operation<Op<e4m3b11fnuz>>;
    case id::float8_e4m3fn: return id_of_operation<Op<e4m3fn>>;
    case id::float8_e4m3fnuz: return id_of_operation<Op<e4m3fnuz>>;
    case id::float8_e5m2: return id_of_operation<Op<e5m2>>;
    case id::float8_e5m2fnuz: return id_of_operation<Op<e5m2fnuz>>;
    default: return id_of_operation<Op<e8m0fnu>>;
  }
}

/// Appends the conversion of real numbers, each `units` times per element. Everything that has no
/// direct way goes through float32, which holds every float16, bfloat16 and float8; so do integers
/// and float64 on their way to bfloat16 and float8, as in ml_dtypes.
class real_road {
 public:
  real_road(road& out, int units) : out_(out), units_(units) {}

  void append(id from, id to) {
    if (from == to) return;
    if (from == id::boolean) {
      if (to == id::float32) return step(id_of_operation<truth_to_float<float>>);
      if (to == id::float64) return step(id_of_operation<truth_to_float<double>>);
      step(id_of_operation<normalize>);
      from = id::uint8;
    }
    if (is_integer(from)) return from_integer(from, to);
    if (from == id::float16 && to == id::float64) return step(id_of_operation<half_to_double>);
    if (from == id::float64) return from_double(to);
    if (to == id::boolean && !is_float8(from) && from != id::float32) {
      return step(id_of_operation<nonzero_half>);
    }
    if (from == id::bfloat16) {
      step(to == id::float16 ? id_of_operation<bfloat_to_plain_single>
                             : id_of_operation<bfloat_to_single>);
    } else if (from == id::float16) {
      step(id_of_operation<half_to_single>);
    } else if (is_float8(from)) {
      step(for_float8<from_float8>(from));
    }
    if (is_float8(from) && is_integer(to)) return step(for_integer<float8_to_integer>(to));
    from_single(to);
  }

 private:
  void step(std::uint8_t operation) { out_.add(operation, units_); }

  void from_integer(id from, id to) {
    const dtype source = dtype_of(from), target = dtype_of(to);
    if (to == id::boolean) {
      return step(source.bits == 8 ? id_of_operation<normalize> : for_bits<nonzero>(source.bits));
    }
    if (is_integer(to)) {
      if (target.bits < source.bits) return step(narrowing(source.bits, target.bits));
      if (target.bits == source.bits) return;
      const bool is_signed = source.code == kDLInt;
      return step(is_signed ? extending<i8, i16, i32, i64>(source.bits, target.bits)
                            : extending<u8, u16, u32, u64>(source.bits, target.bits));
    }
    if (to == id::float64) return step(for_integer<integer_to_double>(from));
    step(for_integer<integer_to_single>(from));
    from_single(to);
  }

  void from_double(id to) {
    if (to == id::boolean) return step(id_of_operation<nonzero<double>>);
    if (is_integer(to)) return step(for_integer<double_to_integer>(to));
    if (to == id::float16) return step(id_of_operation<double_to_half>);
    if (to == id::bfloat16) return step(id_of_operation<double_to_bfloat>);
    step(id_of_operation<to_float<double, float>>);
    from_single(to);
  }

  void from_single(id to) {
    if (to == id::boolean) return step(id_of_operation<nonzero<float>>);
    if (is_integer(to)) return step(for_integer<single_to_integer>(to));
    if (to == id::float16) return step(id_of_operation<single_to_half>);
    if (to == id::bfloat16) return step(id_of_operation<single_to_bfloat>);
    if (to == id::float64) return step(id_of_operation<to_float<float, double>>);
    if (is_float8(to)) step(for_float8<to_float8>(to));
  }

  road& out_;
  int units_;
};

void add_swap(road& out, dtype type, int parts) {
  const int bits = type.bits / parts;
  if (bits == 8) return;
  if (bits != 16 && bits != 32 && bits != 64) {
    throw std::invalid_argument("no byte order known for " + type.name());
  }
  out.add(for_bits<swap_bytes>(bits), parts);
}

void add_negation(road& out, id type, int parts) {
  const id part = part_of(type);
  const int bits = dtype_of(part).bits;
  if (part == id::boolean) return;
  if (is_integer(part)) {
    out.add(bits == 8 ? id_of_operation<negate_integer<u8>> : for_bits<negate_integer>(bits),
            parts);
  } else if (part == id::float8_e8m0fnu) {
    out.add(id_of_operation<negate_e8m0>, parts);
  } else if (part == id::float8_e4m3b11fnuz || part == id::float8_e4m3fnuz ||
             part == id::float8_e5m2fnuz) {
    out.add(id_of_operation<negate_fnuz>, parts);
  } else {
    out.add(bits == 8 ? id_of_operation<negate_float<u8>> : for_bits<negate_float>(bits), parts);
  }
}

void add_changes(road& out, dtype type, element_change change) {
  const id number = id_of(type);
  const int parts = type.code == kDLComplex ? 2 : 1;
  if (change.swap_bytes) add_swap(out, type, parts);
  const bool changes_sign = change.negate || (change.conjugate && parts == 2);
  if (changes_sign && !convertible_dtypes.contains(number)) {
    throw std::invalid_argument("cannot change the sign of " + type.name());
  }
  if (change.negate) add_negation(out, number, parts);
  if (change.conjugate && parts == 2) out.add(for_bits<conjugate>(type.bits / 2), 1);
}

}  // namespace

road road_between(dtype from, dtype to, element_change change) {
  road out;
  out.from = from;
  const bool changes = change.swap_bytes || change.conjugate || change.negate;
  if (from == to && !changes) return out;
  const id source = id_of(from), target = id_of(to);
  const bool only_real = is_complex(source) && !is_complex(target) && target != id::boolean;
  if (only_real) out.from = dtype_of(part_of(source));
  add_changes(out, out.from, change);
  if (from == to) return out;

  if (is_complex(source) && !only_real) {
    real_road(out, 2).append(part_of(source), part_of(target));
    if (target == id::boolean) out.add(id_of_operation<either>, 1);
  } else {
    real_road(out, 1).append(part_of(source), part_of(target));
    if (is_complex(target)) out.add(for_bits<to_complex>(dtype_of(part_of(target)).bits), 1);
  }
  return out;
}

}  // namespace dlpack_bridge::detail
