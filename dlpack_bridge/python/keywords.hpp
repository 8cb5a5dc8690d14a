#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

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

/// The same for one of them.
bool read_keyword(const char* function, PyObject* name, PyObject* value, keyword_set allowed,
                  requirements& wanted) noexcept;

/// Reads `copy=`: None, True or False.
bool read_copy(PyObject* value, requirements& wanted) noexcept;

/// True when a keyword's value is `text`.
bool is_keyword(PyObject* value, const char* text) noexcept;

/// The names of a function's keywords. Those in calls are interned, so that almost every look-up is a
/// comparison of pointers. Made once; needs the GIL.
template <std::size_t Count>
class keyword_names {
 public:
  template <class... Texts>
  explicit keyword_names(Texts... texts) noexcept : names_{PyUnicode_InternFromString(texts)...} {}

  /// The place of `name` among them; -1 when it is none of them.
  int find(PyObject* name) const noexcept {
    for (std::size_t i = 0; i < Count; ++i) {
      if (names_[i] == name) return static_cast<int>(i);
    }
    return find_text(name);
  }

 private:
  [[gnu::cold, gnu::noinline]] int find_text(PyObject* name) const noexcept {
    for (std::size_t i = 0; i < Count; ++i) {
      if (PyUnicode_Compare(names_[i], name) == 0) return static_cast<int>(i);
    }
    return -1;
  }

  std::array<PyObject*, Count> names_;
};
template <class... Texts>
keyword_names(Texts...) -> keyword_names<sizeof...(Texts)>;

}  // namespace dlpack_bridge::python
