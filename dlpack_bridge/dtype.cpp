#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge {
namespace {

// In the order of dtype_id.
constexpr dtype types[] = {
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
static_assert(std::size(types) == known_dtypes);

constexpr bool types_follow_ids() {
  for (int i = 0; i < known_dtypes; ++i) {
    if (id_of(types[i]) != static_cast<dtype_id>(i)) return false;
  }
  return true;
}
static_assert(types_follow_ids());

}  // namespace

std::string dtype::name() const {
  const dtype_id id = id_of(*this);
  if (id != dtype_id::unknown) return std::string(dtype_names[static_cast<int>(id)]);
  return "dtype(code=" + std::to_string(code) + ", bits=" + std::to_string(bits) +
         ", lanes=" + std::to_string(lanes) + ")";
}

std::optional<dtype> dtype::from_name(std::string_view name) noexcept {
  for (int i = 0; i < known_dtypes; ++i) {
    if (dtype_names[i] == name) return types[i];
  }
  return std::nullopt;
}

dtype dtype_of(dtype_id id) noexcept { return types[static_cast<int>(id)]; }

}  // namespace dlpack_bridge
