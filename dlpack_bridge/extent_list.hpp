#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge {

/// What a caller may count with: neither a truth value nor a character is a number of anything.
template <class T>
concept extent_integer =
    std::integral<T> && sizeof(T) <= sizeof(extent) &&
    !(std::is_same_v<T, bool> || std::is_same_v<T, char> || std::is_same_v<T, wchar_t> ||
      std::is_same_v<T, char8_t> || std::is_same_v<T, char16_t> || std::is_same_v<T, char32_t>);

template <class T>
concept extent_range = requires(const T& values) {
  std::size(values);
  std::end(values);
  requires extent_integer<std::remove_cvref_t<decltype(*std::begin(values))>>;
};

/// An extent or stride given by a caller: any integer type, checked for range when it is read.
class checked_extent {
 public:
  template <extent_integer Integer>
  constexpr checked_extent(Integer value) noexcept
      : value_(static_cast<extent>(value)), fits_(std::in_range<extent>(value)) {}
  /// @throws std::out_of_range
  constexpr operator extent() const {
    if (!fits_) throw std::out_of_range("an extent leaves 63 bits");
    return value_;
  }

 private:
  extent value_;
  bool fits_;
};

/// Shape or strides in a call: `{rows, 3}`, or any container of integers.
///
/// Making one never throws: what goes wrong is thrown by the function that reads the list, which owns
/// by then what was given to it beside the list.
class extent_list {
 public:
  extent_list() noexcept = default;
  extent_list(std::initializer_list<checked_extent> values) noexcept { take(values); }
  template <extent_range Range>
  extent_list(const Range& values) noexcept {
    take(values);
  }

  /// @throws std::out_of_range an extent leaves 63 bits; std::bad_alloc
  operator std::span<const extent>() const {
    if (failure_) std::rethrow_exception(failure_);
    return values_;
  }

 private:
  template <class Range>
  void take(const Range& values) noexcept {
    try {
      values_.reserve(std::size(values));
      for (const checked_extent value : values) values_.push_back(value);
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  std::vector<extent> values_;
  std::exception_ptr failure_;
};

}  // namespace dlpack_bridge
