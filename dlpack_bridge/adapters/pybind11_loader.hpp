#pragma once

// What a caller is told when a function that takes arrays refuses its arguments. pybind11 lists the
// signatures and the arguments' repr; which dtype, layout or device was wrong only the caster knows.
// pybind11 has no hook there, so its argument loader is specialised for these functions: it loads as
// before, and when the last attempt of a call has failed it raises the TypeError itself.

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/array.hpp>

namespace dlpack_bridge {

template <class T>
inline constexpr bool is_array = false;
template <class T, int Rank, class... Tags>
inline constexpr bool is_array<array<T, Rank, Tags...>> = true;

/// Whether a type is an array, or a container, an optional or a variant of some.
template <class T>
inline constexpr bool has_arrays = is_array<T>;
template <template <class...> class C, class... Parts>
inline constexpr bool has_arrays<C<Parts...>> =
    (has_arrays<pybind11::detail::intrinsic_t<Parts>> || ...);
template <class T, std::size_t Size>
inline constexpr bool has_arrays<std::array<T, Size>> = has_arrays<T>;

}  // namespace dlpack_bridge

PYBIND11_NAMESPACE_BEGIN(PYBIND11_NAMESPACE)
PYBIND11_NAMESPACE_BEGIN(detail)

static_assert(PYBIND11_VERSION_MAJOR >= 3, "dlpack_bridge's casters need pybind11 3");

template <class Argument>
inline constexpr bool is_array_argument = dlpack_bridge::is_array<intrinsic_t<Argument>>;
template <class Argument>
inline constexpr bool has_arrays =
    dlpack_bridge::has_arrays<intrinsic_t<Argument>> && !is_pyobject<intrinsic_t<Argument>>::value;

/// Stands for an argument with arrays in pybind11's own loader, which takes it for any other argument.
template <class Argument, bool IsArray = is_array_argument<Argument>>
struct carried_array {};
template <class Argument>
using carried_argument =
    std::conditional_t<has_arrays<Argument>, carried_array<Argument>, Argument>;

template <class Argument, bool IsArray>
class type_caster<carried_array<Argument, IsArray>> : public make_caster<Argument> {
 public:
  bool load(handle source, bool convert) {
    if constexpr (IsArray) return make_caster<Argument>::take(source, convert);
    else return make_caster<Argument>::load(source, convert);
  }

  template <class>
  using cast_op_type =
      typename make_caster<Argument>::template cast_op_type<std::add_rvalue_reference_t<Argument>>;
};

/// The first overload of the function that a record belongs to; null when nobody can tell.
inline const function_record* first_overload(const function_record& func) {
  const bool named = func.name != nullptr && *func.name != '\0';  // accessors of properties are not
  if (!func.scope || !named) return func.sibling ? nullptr : &func;
  const object found = getattr(func.scope, func.name, none());
  const handle function = get_function(found);
  if (!function || !PyCFunction_Check(function.ptr())) return nullptr;
  const function_record* head =
      function_record_ptr_from_PyObject(PyCFunction_GET_SELF(function.ptr()));
  for (const function_record* it = head; it != nullptr; it = it->next) {
    if (it == &func) return head;
  }
  return nullptr;
}

/// Whether pybind11 may still try `later` for a call that `func` was tried for: not where the number of
/// arguments is fixed for both and differs.
inline bool may_be_tried(const function_record& later, const function_record& func) noexcept {
  const auto is_fixed = [](const function_record& r) {
    for (const argument_record& argument : r.args) {
      if (argument.value) return false;
    }
    return !r.has_args && !r.has_kwargs;
  };
  return !is_fixed(func) || !is_fixed(later) || func.nargs == later.nargs;
}

/// Whether an overload is tried again with conversions after all have failed without.
inline bool has_second_pass(const function_record& func) noexcept {
  for (std::size_t i = func.is_method ? 1 : 0; i < func.nargs; ++i) {
    if (i >= func.args.size() || func.args[i].convert) return true;
  }
  return false;
}

/// Whether no other attempt follows when this one has failed: pybind11 tries all overloads without
/// conversions, then those again that permit one.
inline bool is_last_attempt(const function_call& call, const function_record& head) {
  const function_record& func = call.func;
  for (const function_record* later = func.next; later != nullptr; later = later->next) {
    if (may_be_tried(*later, func)) return false;
  }
  if (&head == &func && func.next == nullptr) return true;
  for (std::size_t i = 0; i < func.nargs; ++i) {
    if (call.args_convert[i]) return true;  // the second pass
  }
  for (const function_record* it = &head; it != nullptr; it = it->next) {
    if (has_second_pass(*it)) return false;
  }
  return true;
}

/// "x", or "argument 2" for one without a name.
inline std::string argument_label(const function_record& func, std::size_t index) {
  const bool named = index < func.args.size() && func.args[index].name != nullptr;
  if (named && *func.args[index].name != '\0') return func.args[index].name;
  return "argument " + std::to_string(func.is_method ? index : index + 1);
}

/// What is wrong with the arrays in an argument that is loaded while this listens: in this thread.
class mismatch_list {
 public:
  explicit mismatch_list(handle argument) noexcept : argument_(argument), outer_(listening()) {
    listening() = this;
  }
  mismatch_list(const mismatch_list&) = delete;
  mismatch_list& operator=(const mismatch_list&) = delete;
  ~mismatch_list() { listening() = outer_; }

  static mismatch_list*& listening() noexcept {
    static thread_local mismatch_list* current = nullptr;
    return current;
  }

  void add(handle found, const std::string& what) {
    if (PyErr_Occurred() != nullptr) throw error_already_set();
    const std::string where = found.is(argument_) ? "" : "an item: ";
    if (what.empty() || (!told_.empty() && told_.back() == where + what)) return;
    told_.push_back(where + what);
  }
  const std::vector<std::string>& told() const noexcept { return told_; }

 private:
  handle argument_;
  mismatch_list* outer_;
  std::vector<std::string> told_;
};

/// Arguments are taken one by one: a capsule may have been used up by this very call, before another
/// argument was refused.
inline bool is_used_capsule(handle x) noexcept {
  const char* const name = PyCapsule_CheckExact(x.ptr()) ? PyCapsule_GetName(x.ptr()) : nullptr;
  return name != nullptr && std::string_view(name).starts_with("used_dltensor");
}

inline void append_indented(std::string& text, const std::string& label, const std::string& what) {
  text += "\n  " + label + ": ";
  for (const char c : what) {
    text += c;
    if (c == '\n') text += "  ";
  }
}

template <typename... Args>
  requires(has_arrays<Args> || ...)
class argument_loader<Args...> : public argument_loader<carried_argument<Args>...> {
 public:
  bool load_args(function_call& call) {
    if (argument_loader<carried_argument<Args>...>::load_args(call)) return true;
    if (!call.func.is_operator) explain(call, std::index_sequence_for<Args...>());
    return false;
  }

 private:
  /// Raises TypeError with what is wrong, where this was the last attempt and arrays are at fault.
  template <std::size_t... Is>
  static void explain(const function_call& call, std::index_sequence<Is...>) {
    const function_record* head = first_overload(call.func);
    if (head == nullptr || !is_last_attempt(call, *head)) return;
    std::string wrong, used_up;
    (add_mismatch<Args>(is_used_capsule(call.args[Is]) ? used_up : wrong, call, Is), ...);
    if (wrong.empty()) wrong = used_up;  // told only where nothing else is at fault
    if (wrong.empty()) return;           // another argument is at fault: pybind11 says so
    const bool overloaded = head->next != nullptr;
    const std::string name = call.func.name == nullptr ? "" : call.func.name;
    std::string text = (name.empty() ? name : name + "(): ") +
                       (overloaded ? "no overload takes these arguments. The last one:"
                                   : "incompatible array arguments:") +
                       wrong + "\nThe following argument types are supported:";
    int number = 0;
    for (const function_record* it = head; it != nullptr; it = it->next) {
      text += "\n    " + std::to_string(++number) + ". " + it->signature;
    }
    throw type_error(text);
  }

  template <class Argument>
  static void add_mismatch(std::string& text, const function_call& call, std::size_t index) {
    if constexpr (is_array_argument<Argument>) {
      const std::string wrong = make_caster<Argument>::parameter().mismatch(
          call.args[index].ptr(), call.args_convert[index]);
      if (PyErr_Occurred() != nullptr) throw error_already_set();
      if (!wrong.empty()) append_indented(text, argument_label(call.func, index), wrong);
    } else if constexpr (has_arrays<Argument>) {
      // Only its own caster knows what is in it: it is loaded once more, and those of the arrays tell.
      mismatch_list found(call.args[index]);
      if (make_caster<Argument>().load(call.args[index], call.args_convert[index])) return;
      for (const std::string& wrong : found.told()) {
        append_indented(text, argument_label(call.func, index), wrong);
      }
    }
  }
};

PYBIND11_NAMESPACE_END(detail)
PYBIND11_NAMESPACE_END(PYBIND11_NAMESPACE)
