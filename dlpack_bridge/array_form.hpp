#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <dlpack_bridge/element_types.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/negotiation.hpp>

namespace dlpack_bridge {

/// A rank or an extent that is known at run time only.
inline constexpr int dynamic = -1;

// The tags of `array<T, Rank, Tags...>`: any order, each kind at most once.

struct c_contiguous {};  ///< row-major and dense
struct f_contiguous {};  ///< column-major and dense
struct on_cpu {};        ///< memory that the CPU reads: the default
struct on_cuda {};       ///< memory of a CUDA device
struct on_any {};        ///< memory of any device: look at `device()` before touching it
struct converting {};    ///< an array that does not fit is copied into one that does; const only
template <extent... Extents>
struct shape {};  ///< extents, `dynamic` where any will do; the rank follows

enum class memory_order : std::uint8_t { any, c, f };
enum class memory_place : std::uint8_t { cpu, cuda, any };

/// What an `array<...>` can hold, as plain data: what negotiation needs, and what it does not judge.
struct array_form {
  std::string_view name;  ///< "array[const float32, 2, c_contiguous]"
  dlpack_bridge::dtype dtype;
  std::int32_t rank = dynamic;
  std::span<const extent> extents;  ///< `rank` of them; empty: any
  memory_order order = memory_order::any;
  memory_place place = memory_place::cpu;
  bool read_only = false;  ///< const elements: never written
  bool converts = false;
};

/// The form as a row of negotiation.
constexpr capabilities capabilities_of(const array_form& form) noexcept {
  capabilities row;
  row.id = framework::cpp;
  row.name = form.name;
  row.dtypes = dtype_set(id_of(form.dtype));
  if (form.place == memory_place::any) row.devices = device_set::every();
  else if (form.place == memory_place::cpu) row.devices = {kDLCPU};
  else row.devices = {kDLCUDA, kDLCUDAManaged};
  row.negative_strides = row.carries_order = true;
  row.read_only = form.read_only;
  return row;
}

/// What the form asks of an exchange. A copy is asked for only where `may_convert`; memory that is to
/// be written is never one, not even its producer's.
constexpr requirements requirements_of(const array_form& form, bool may_convert) noexcept {
  requirements wanted;
  wanted.dtype = form.dtype;
  wanted.c_order = form.order == memory_order::c;
  const bool may_copy = form.read_only || (form.converts && may_convert);
  wanted.copy = may_copy ? copy_policy::if_needed : copy_policy::never;
  return wanted;
}

constexpr bool rank_fits(const array_form& form, const description& source) noexcept {
  return form.rank == dynamic || form.rank == source.view.ndim();
}

/// Whether extents and column-major order are those of the form. Precondition: the rank is.
bool axes_fit(const array_form& form, const description& source) noexcept;

/// Whether rank, extents and column-major order are those of the form: what negotiation has no words
/// for. A layout that is not known fits no form.
inline bool has_shape_of(const array_form& form, const description& source) noexcept {
  const bool any_axes = form.extents.empty() && form.order != memory_order::f;
  return source.has_layout && rank_fits(form, source) && (any_axes || axes_fit(form, source));
}

/// Whether a decision gives an array of the form without a conversion that nobody asked for.
inline bool fits(const array_form& form, const description& source, const decision& decided,
                 bool may_convert) noexcept {
  if (decided.action == action::refuse || !has_shape_of(form, source)) return false;
  return !decided.copies_here || (form.converts && may_convert);
}

/// Everything in which an array differs from the form: what was expected and what was found.
std::vector<reason> mismatches(const array_form& form, const description& source,
                               const decision& decided, bool may_convert);

/// "expected array[...], found <what> (<summary>)" with a line for each mismatch.
std::string mismatch_text(const array_form& form, std::string_view what, const description& source,
                          const std::vector<reason>& all);

/// Makes a managed tensor fit a form: as it is, or converted where the form says so. `t` is gone
/// after a throw.
/// @throws exchange_error with every mismatch; `malformed` when `t` is empty
managed_tensor fit(managed_tensor t, const array_form& form);

/// Whether rank and extents of every array of `from` are among those of `to`.
constexpr bool is_wider_shape(const array_form& to, const array_form& from) noexcept {
  if (to.rank != dynamic && to.rank != from.rank) return false;
  for (std::size_t i = 0; i < to.extents.size(); ++i) {
    if (to.extents[i] == dynamic) continue;
    if (from.extents.empty() || from.extents[i] != to.extents[i]) return false;
  }
  return true;
}

/// Whether every array of `from` is one of `to`, constness aside.
constexpr bool is_wider(const array_form& to, const array_form& from) noexcept {
  return is_wider_shape(to, from) && (to.order == memory_order::any || to.order == from.order) &&
         (to.place == memory_place::any || to.place == from.place);
}

// ---- the form of a type ----------------------------------------------------------------------

template <extent... Extents>
inline constexpr std::array<extent, sizeof...(Extents)> extents_of_shape{Extents...};

/// What the tags of an array say.
struct array_tags {
  memory_order order = memory_order::any;
  memory_place place = memory_place::cpu;
  bool converts = false;
  std::span<const extent> extents;
  std::int32_t rank = dynamic;  ///< of `shape`
  int orders = 0, places = 0, conversions = 0, shapes = 0, strangers = 0;

  template <class Tag>
  constexpr void read(std::type_identity<Tag>) noexcept {
    if constexpr (std::is_same_v<Tag, c_contiguous>) order = memory_order::c, ++orders;
    else if constexpr (std::is_same_v<Tag, f_contiguous>) order = memory_order::f, ++orders;
    else if constexpr (std::is_same_v<Tag, on_cpu>) place = memory_place::cpu, ++places;
    else if constexpr (std::is_same_v<Tag, on_cuda>) place = memory_place::cuda, ++places;
    else if constexpr (std::is_same_v<Tag, on_any>) place = memory_place::any, ++places;
    else if constexpr (std::is_same_v<Tag, converting>) converts = true, ++conversions;
    else ++strangers;
  }
  template <extent... Extents>
  constexpr void read(std::type_identity<shape<Extents...>>) noexcept {
    extents = extents_of_shape<Extents...>;
    rank = static_cast<std::int32_t>(sizeof...(Extents));
    ++shapes;
  }
};

template <class... Tags>
inline constexpr array_tags tags_of = [] {
  array_tags found;
  (found.read(std::type_identity<Tags>()), ...);
  return found;
}();

/// The name of a form, written at compile time.
struct form_name {
  char text[160] = {};
  std::size_t length = 0;

  constexpr form_name& operator+=(std::string_view part) noexcept {
    for (const char c : part) text[length++] = c;
    return *this;
  }
  constexpr form_name& operator+=(extent number) noexcept {
    if (number < 0) return *this += std::string_view("*");
    char digits[20] = {};
    std::size_t count = 0;
    do digits[count++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0) text[length++] = digits[--count];
    return *this;
  }
  constexpr operator std::string_view() const noexcept { return {text, length}; }
};

/// The name of a form, as signatures and refusals show it.
constexpr form_name name_of(const array_form& form) noexcept {
  form_name name;
  name += form.read_only ? std::string_view("array[const ") : std::string_view("array[");
  name += dtype_names[static_cast<int>(id_of(form.dtype))];
  if (!form.extents.empty()) {
    for (std::int32_t i = 0; i < form.rank; ++i) {
      name += std::string_view(i == 0 ? ", (" : ", ");
      name += form.extents[static_cast<std::size_t>(i)];
    }
    name += std::string_view(form.rank == 1 ? ",)" : ")");
  } else if (form.rank >= 0) {
    name += std::string_view(", ");
    name += extent{form.rank};
  }
  if (form.order == memory_order::c) name += std::string_view(", c_contiguous");
  if (form.order == memory_order::f) name += std::string_view(", f_contiguous");
  if (form.place == memory_place::cuda) name += std::string_view(", on_cuda");
  if (form.place == memory_place::any) name += std::string_view(", on_any");
  if (form.converts) name += std::string_view(", converting");
  name += std::string_view("]");
  return name;
}

template <class T, int Rank, class... Tags>
constexpr array_form form_without_name() noexcept {
  constexpr array_tags tags = tags_of<Tags...>;
  array_form form;
  form.dtype = dtype_for<std::remove_cv_t<T>>;
  form.rank = tags.shapes == 0 ? Rank : tags.rank;
  form.extents = tags.extents;
  form.order = tags.order;
  form.place = tags.place;
  form.read_only = std::is_const_v<T>;
  form.converts = tags.converts;
  return form;
}

template <class T, int Rank, class... Tags>
inline constexpr form_name name_of_form = name_of(form_without_name<T, Rank, Tags...>());

/// The form of `array<T, Rank, Tags...>`.
template <class T, int Rank, class... Tags>
inline constexpr array_form form_of = [] {
  array_form form = form_without_name<T, Rank, Tags...>();
  form.name = name_of_form<T, Rank, Tags...>;
  return form;
}();

}  // namespace dlpack_bridge
