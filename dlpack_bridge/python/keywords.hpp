#pragma once

#include <cstdint>

#include <dlpack_bridge/negotiation.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// The keywords of the conversions; a function takes some of them.
enum class keyword : std::uint8_t {
  dtype,
  device,
  copy,
  detach,
  readonly,
  order,
  alignment,
  stream,
};

/// Which keywords a function takes.
class keyword_set {
 public:
  template <class... Keywords>
  constexpr explicit keyword_set(Keywords... all) noexcept : bits_((bit(all) | ...)) {}
  constexpr bool contains(keyword k) const noexcept { return (bits_ & bit(k)) != 0; }

 private:
  static constexpr unsigned bit(keyword k) noexcept { return 1U << static_cast<unsigned>(k); }
  unsigned bits_;
};

inline constexpr keyword_set every_keyword(keyword::dtype, keyword::device, keyword::copy,
                                           keyword::detach, keyword::readonly, keyword::order,
                                           keyword::alignment, keyword::stream);

/// Reads the keywords of a vectorcall into `wanted`. `values` are the keyword values. False with
/// TypeError (unknown keyword, wrong type) or ValueError (wrong value) set.
bool read_keywords(const char* function, PyObject* const* values, PyObject* names,
                   keyword_set allowed, requirements& wanted) noexcept;

/// Reads `copy=`: None, True or False.
bool read_copy(PyObject* value, requirements& wanted) noexcept;

/// True when a keyword's name is `text`.
bool is_keyword(PyObject* name, const char* text) noexcept;

}  // namespace dlpack_bridge::python
