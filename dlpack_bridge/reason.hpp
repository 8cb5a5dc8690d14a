#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>

namespace dlpack_bridge {

/// Why an array is copied or refused. The names are those of the Python contract.
// clang-format off
enum class reason_code : std::uint8_t {
  device, dtype, byte_order, negative_stride, layout, order, alignment, readonly, copy_requested,
  requires_grad, conj, neg, sparse, meta, fake, quantized, subclass, lanes, version, capsule,
  malformed, nested, functional, framework, stream, capture, driver, producer,
};
// clang-format on

inline constexpr int reason_codes = static_cast<int>(reason_code::producer) + 1;

/// "negative_stride", ...
const char* to_string(reason_code code) noexcept;

/// A set of reason codes in one word.
class reason_set {
 public:
  constexpr reason_set() noexcept = default;
  template <class... Codes>
  constexpr explicit reason_set(Codes... codes) noexcept : bits_((bit(codes) | ... | 0U)) {}

  constexpr bool contains(reason_code c) const noexcept { return (bits_ & bit(c)) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr int size() const noexcept { return std::popcount(bits_); }
  constexpr void add(reason_code c) noexcept { bits_ |= bit(c); }
  constexpr void remove(reason_code c) noexcept { bits_ &= ~bit(c); }

  friend constexpr reason_set operator&(reason_set a, reason_set b) noexcept {
    return from(a.bits_ & b.bits_);
  }
  friend constexpr reason_set operator|(reason_set a, reason_set b) noexcept {
    return from(a.bits_ | b.bits_);
  }
  friend constexpr bool operator==(reason_set, reason_set) noexcept = default;

  /// Calls `visit(reason_code)` in the order of the enumeration.
  template <class Visit>
  constexpr void for_each(Visit visit) const {
    for (std::uint32_t rest = bits_; rest != 0; rest &= rest - 1) {
      visit(static_cast<reason_code>(std::countr_zero(rest)));
    }
  }

 private:
  static constexpr std::uint32_t bit(reason_code c) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(c);
  }
  static constexpr reason_set from(std::uint32_t bits) noexcept {
    reason_set set;
    set.bits_ = bits;
    return set;
  }
  std::uint32_t bits_ = 0;
};
static_assert(reason_codes <= 32);

/// One reason with its text; the text ends in the remedy where there is one.
struct reason {
  reason_code code;
  std::string message;
};

/// "\n  - dtype: ...": a line for each.
std::string list_text(std::span<const reason> reasons);

}  // namespace dlpack_bridge
