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

std::string list_text(std::span<const reason> reasons) {
  std::string text;
  for (const reason& one : reasons) {
    text.append("\n  - ").append(to_string(one.code)).append(": ").append(one.message);
  }
  return text;
}

}  // namespace dlpack_bridge
