#pragma once

// Casters for pybind11: `array<...>` as an argument takes whatever `dlpack_bridge.asarray` takes, by the
// same road; arrays and managed tensors as results become NumPy arrays unless something else is said.
//
// An argument lives at least as long as the call, and longer where the function keeps a copy of it. It
// and every result may be dropped on any thread, with or without the GIL: functions may release it with
// `py::call_guard<py::gil_scoped_release>()`. pybind11's `convert` flag is on by default and means
// nothing here, but `py::arg("x").noconvert()` forbids a conversion even to `converting`.

#include <optional>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/adapters/pybind11_errors.hpp>
#include <dlpack_bridge/adapters/pybind11_loader.hpp>
#include <dlpack_bridge/adapters/pybind11_owner.hpp>
#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/python/argument.hpp>
#include <dlpack_bridge/python/result.hpp>

namespace dlpack_bridge {

/// A result that becomes an array of one framework.
template <framework To>
struct result_as {
  managed_tensor tensor;
};

/// A result that becomes an array of the framework, and goes to the device, of an argument.
struct result_like {
  managed_tensor tensor;
  array_origin origin;
};

// What can be given as a result: a managed tensor, an array, a vector. One that is not moved in keeps
// what it has: tensors and arrays share their memory with the result, the elements of a vector are copied.
inline managed_tensor result_of(managed_tensor&& t) { return std::move(t); }
inline managed_tensor result_of(managed_tensor& t) { return python::second_of(t); }
template <class T, int Rank, class... Tags>
managed_tensor result_of(const array<T, Rank, Tags...>& x) {
  return share(x);
}
template <class T>
managed_tensor result_of(std::vector<T>&& elements) {
  return share(std::move(elements));
}
template <class T>
managed_tensor result_of(const std::vector<T>& elements) {
  return share(std::vector<T>(elements));
}

template <class Result>
result_as<framework::numpy> as_numpy(Result&& result) {
  return {result_of(std::forward<Result>(result))};
}
template <class Result>
result_as<framework::torch> as_torch(Result&& result) {
  return {result_of(std::forward<Result>(result))};
}
/// As `dlpack_bridge.Array`, which holds memory of any device with its order.
template <class Result>
result_as<framework::array> as_array(Result&& result) {
  return {result_of(std::forward<Result>(result))};
}

/// Torch in, torch out. Device memory that names no stream counts as ordered on the argument's.
template <class T, int Rank, class... Tags, class Result>
result_like like(const array<T, Rank, Tags...>& x, Result&& result) {
  managed_tensor tensor = result_of(std::forward<Result>(result));
  if (!tensor.stream().known()) tensor.set_stream(x.stream_number());
  return {std::move(tensor), x.origin()};
}

}  // namespace dlpack_bridge

PYBIND11_NAMESPACE_BEGIN(PYBIND11_NAMESPACE)
PYBIND11_NAMESPACE_BEGIN(detail)

/// The name of a form as part of a signature.
template <const dlpack_bridge::form_name& Name>
constexpr auto descr_of_form() {
  descr<Name.length> text;
  for (std::size_t i = 0; i < Name.length; ++i) text.text[i] = Name.text[i];
  return text;
}

inline handle result_or_throw(PyObject* result) {
  ensure_hub_errors();
  if (result == nullptr) throw error_already_set();
  return result;
}

template <class T, int Rank, class... Tags>
class type_caster<dlpack_bridge::array<T, Rank, Tags...>>
    : private dlpack_bridge::python::argument_loan {
  using type = dlpack_bridge::array<T, Rank, Tags...>;

 public:
  type_caster() noexcept {}  // not "= default": pybind11 would have all of it set to zero first
  type_caster(type_caster&&) noexcept = default;

  // Valid in a stub, and readable in help(): typing.Annotated[typing.Any, "array[float32, 2]"].
  static constexpr auto name = const_name("typing.Annotated[typing.Any, \"") +
                               descr_of_form<dlpack_bridge::name_of_form<T, Rank, Tags...>>() +
                               const_name("\"]");

  /// The GIL guards it. A static that is made when it is first reached would have a lock of its own, for
  /// which a second thread waits with the GIL, while the first makes it and wants the GIL.
  static const dlpack_bridge::python::parameter& parameter() {
    static const dlpack_bridge::python::parameter* made = nullptr;
    if (made == nullptr) [[unlikely]] {
      ensure_hub_errors();
      dlpack_bridge::python::parameter::make(made, type::form());
    }
    return *made;
  }

  bool load(handle source, bool convert) {
    if (!take(source, convert)) {
      if (mismatch_list* told = mismatch_list::listening()) {
        told->add(source, parameter().mismatch(source.ptr(), convert));
      }
      return false;
    }
    own();
    return true;
  }

  static handle cast(const type& x, return_value_policy, handle) {
    return result_or_throw(dlpack_bridge::python::give(share(x)));
  }

  template <class U>
  using cast_op_type = movable_cast_op_type<U>;
  operator type*() { return &*value_; }
  operator type&() { return *value_; }
  operator type&&() && { return std::move(*value_); }

 protected:
  /// `load` for an object that is alive until the function has returned.
  bool take(handle source, bool convert) {
    if (parameter().take(source.ptr(), convert, *this, build, this)) return true;
    if (PyErr_Occurred() != nullptr) throw error_already_set();
    return false;
  }

 private:
  static void build(void* place, dlpack_bridge::checked_view&& taken) {
    static_cast<type_caster*>(place)->value_.emplace(std::move(taken));
  }

  std::optional<type> value_;  // destroyed before the loan, which sees whether copies are left
};

template <>
struct type_caster<dlpack_bridge::managed_tensor> {
  static constexpr auto name = const_name("numpy.ndarray");
  static handle cast(dlpack_bridge::managed_tensor t, return_value_policy, handle) {
    return result_or_throw(dlpack_bridge::python::give(std::move(t)));
  }
};

template <dlpack_bridge::framework To>
struct type_caster<dlpack_bridge::result_as<To>> {
  static constexpr auto name = const_name<To == dlpack_bridge::framework::numpy>(
      const_name("numpy.ndarray"),
      const_name<To == dlpack_bridge::framework::torch>("torch.Tensor", "dlpack_bridge.Array"));
  static handle cast(dlpack_bridge::result_as<To> result, return_value_policy, handle) {
    return result_or_throw(dlpack_bridge::python::give(std::move(result.tensor), To));
  }
};

template <>
struct type_caster<dlpack_bridge::result_like> {
  static constexpr auto name = const_name("typing.Any");
  static handle cast(dlpack_bridge::result_like result, return_value_policy, handle) {
    return result_or_throw(
        dlpack_bridge::python::give_back(std::move(result.tensor), result.origin));
  }
};

PYBIND11_NAMESPACE_END(detail)
PYBIND11_NAMESPACE_END(PYBIND11_NAMESPACE)
