#include <dlpack_bridge/adapters/torch_dtype.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <string_view>

namespace dlpack_bridge::torch_adapter {
namespace {

struct named_type {
  std::string_view name;  // c10::toString
  dtype type;
};

constexpr named_type element_types[] = {
    {"Bool", boolean},
    {"Char", int8},
    {"Short", int16},
    {"Int", int32},
    {"Long", int64},
    {"Byte", uint8},
    {"UInt16", uint16},
    {"UInt32", uint32},
    {"UInt64", uint64},
    {"Half", float16},
    {"BFloat16", bfloat16},
    {"Float", float32},
    {"Double", float64},
    {"ComplexHalf", complex32},
    {"ComplexFloat", complex64},
    {"ComplexDouble", complex128},
    {"Float8_e4m3fn", dtype(kDLFloat8_e4m3fn, 8)},
    {"Float8_e4m3fnuz", dtype(kDLFloat8_e4m3fnuz, 8)},
    {"Float8_e5m2", dtype(kDLFloat8_e5m2, 8)},
    {"Float8_e5m2fnuz", dtype(kDLFloat8_e5m2fnuz, 8)},
    {"Float8_e8m0fnu", dtype(kDLFloat8_e8m0fnu, 8)},
    {"Float4_e2m1fn_x2", dtype(kDLFloat4_e2m1fn, 4, 2)},
};

constexpr auto scalar_types = static_cast<std::size_t>(c10::ScalarType::NumOptions);
using dtype_table = std::array<std::optional<dtype>, scalar_types>;

// The DLPack type of every scalar type of this torch.
const dtype_table& table() {
  static const dtype_table made = [] {
    dtype_table types;
    for (std::size_t i = 0; i < scalar_types; ++i) {
      const std::string_view name = c10::toString(static_cast<c10::ScalarType>(i));
      const auto* found = std::ranges::find(element_types, name, &named_type::name);
      if (found != std::end(element_types)) types[i] = found->type;
    }
    return types;
  }();
  return made;
}

}  // namespace

std::optional<dtype> dtype_of_scalar(c10::ScalarType type) {
  const auto number = static_cast<std::size_t>(type);
  return number < scalar_types ? table()[number] : std::nullopt;
}

std::optional<c10::ScalarType> scalar_of_dtype(dtype type) {
  const auto found = std::ranges::find(table(), type);
  if (found == table().end()) return std::nullopt;
  return static_cast<c10::ScalarType>(found - table().begin());
}

std::optional<dtype> narrow_integer(c10::ScalarType type) {
  std::string_view name = c10::toString(type);
  const bool is_unsigned = name.starts_with('U');
  if (is_unsigned) name.remove_prefix(1);
  if (!name.starts_with("Int") || name.size() != 4 || name[3] < '1' || name[3] > '7') {
    return std::nullopt;
  }
  return dtype(is_unsigned ? kDLUInt : kDLInt, name[3] - '0');
}

std::string python_name(c10::ScalarType type) {
  if (const std::optional<dtype> known = dtype_of_scalar(type)) return "torch." + known->name();
  std::string name = std::string("torch.") + c10::toString(type);
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

}  // namespace dlpack_bridge::torch_adapter
