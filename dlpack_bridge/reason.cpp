#include <dlpack_bridge/reason.hpp>

#include <iterator>

namespace dlpack_bridge {

const char* to_string(reason_code code) noexcept {
  // In the order of reason_code.
  // clang-format off
  static constexpr const char* names[] = {
      "device", "dtype", "byte_order", "negative_stride", "layout", "order", "alignment",
      "readonly", "copy_requested", "requires_grad", "conj", "neg", "sparse", "meta", "fake",
      "quantized", "subclass", "lanes", "version", "capsule", "malformed", "nested", "functional",
      "framework", "stream", "capture", "driver", "producer",
  };
  // clang-format on
  static_assert(std::size(names) == reason_codes);
  return names[static_cast<int>(code)];
}

}  // namespace dlpack_bridge
