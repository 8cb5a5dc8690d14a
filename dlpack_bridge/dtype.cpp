#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge {
namespace {

constexpr bool types_follow_ids() {
  for (int i = 0; i < known_dtypes; ++i) {
    if (id_of(dtype_rows[i]) != static_cast<dtype_id>(i)) return false;
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
    if (dtype_names[i] == name) return dtype_rows[i];
  }
  return std::nullopt;
}

}  // namespace dlpack_bridge
