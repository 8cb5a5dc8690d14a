#include <dlpack_bridge/element_types.hpp>

#include <bit>

#include <dlpack_bridge/copy_ops.hpp>

namespace dlpack_bridge {

float16_t::float16_t(float value) noexcept : bits(detail::half_bits(value)) {}

float16_t::operator float() const noexcept {
  return std::bit_cast<float>(detail::half_to_single::apply(bits));
}

bfloat16_t::bfloat16_t(float value) noexcept
    : bits(detail::single_to_bfloat::apply(std::bit_cast<std::uint32_t>(value))) {}

bfloat16_t::operator float() const noexcept {
  return std::bit_cast<float>(detail::bfloat_to_single::apply(bits));
}

}  // namespace dlpack_bridge
