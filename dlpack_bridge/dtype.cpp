#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge {
namespace {

struct dtype_row {
  dtype type;
  std::string_view name;
};

// In the order of dtype_id.
constexpr dtype_row rows[] = {
    {boolean, "bool"},
    {int8, "int8"},
    {int16, "int16"},
    {int32, "int32"},
    {int64, "int64"},
    {uint8, "uint8"},
    {uint16, "uint16"},
    {uint32, "uint32"},
    {uint64, "uint64"},
    {float16, "float16"},
    {float32, "float32"},
    {float64, "float64"},
    {bfloat16, "bfloat16"},
    {complex32, "complex32"},
    {complex64, "complex64"},
    {complex128, "complex128"},
    {dtype(kDLFloat8_e3m4, 8), "float8_e3m4"},
    {dtype(kDLFloat8_e4m3, 8), "float8_e4m3"},
    {dtype(kDLFloat8_e4m3b11fnuz, 8), "float8_e4m3b11fnuz"},
    {dtype(kDLFloat8_e4m3fn, 8), "float8_e4m3fn"},
    {dtype(kDLFloat8_e4m3fnuz, 8), "float8_e4m3fnuz"},
    {dtype(kDLFloat8_e5m2, 8), "float8_e5m2"},
    {dtype(kDLFloat8_e5m2fnuz, 8), "float8_e5m2fnuz"},
    {dtype(kDLFloat8_e8m0fnu, 8), "float8_e8m0fnu"},
    {dtype(kDLFloat6_e2m3fn, 6), "float6_e2m3fn"},
    {dtype(kDLFloat6_e3m2fn, 6), "float6_e3m2fn"},
    {dtype(kDLFloat4_e2m1fn, 4), "float4_e2m1fn"},
    {dtype(kDLFloat4_e2m1fn, 4, 2), "float4_e2m1fn_x2"},
};
static_assert(std::size(rows) == known_dtypes);

constexpr bool rows_follow_ids() {
  for (int i = 0; i < known_dtypes; ++i) {
    if (id_of(rows[i].type) != static_cast<dtype_id>(i)) return false;
  }
  return true;
}
static_assert(rows_follow_ids());

}  // namespace

std::string dtype::name() const {
  const dtype_id id = id_of(*this);
  if (id != dtype_id::unknown) return std::string(rows[static_cast<int>(id)].name);
  return "dtype(code=" + std::to_string(code) + ", bits=" + std::to_string(bits) +
         ", lanes=" + std::to_string(lanes) + ")";
}

std::optional<dtype> dtype::from_name(std::string_view name) noexcept {
  for (const dtype_row& row : rows) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

dtype dtype_of(dtype_id id) noexcept { return rows[static_cast<int>(id)].type; }

}  // namespace dlpack_bridge
