#include <dlpack_bridge/python/result.hpp>

#include <stdexcept>
#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/target.hpp>

namespace dlpack_bridge::python {
namespace {

const source_row cpp_source{"cpp", framework::cpp, nullptr, take_held};

// Whoever made it, C++ has it now: nobody else waits for what is written to a copy.
description describe_own(const managed_tensor& t) noexcept {
  description d = describe(t);
  d.is_copied = false;
  return d;
}

// An array of C++ on its way in: described by what it is, owned already.
struct outgoing : inbound {
  outgoing(managed_tensor t, const target_row& towards) : inbound(Py_None, towards) {
    desc = describe_own(t);  // borrows from the block that `held` keeps
    desc.source = framework::cpp;
    row = &cpp_source;
    held = owner::of_managed(std::move(t).release());
  }
};

PyObject* convert(managed_tensor t, const target_row& target, const requirements& wanted) {
  outgoing out(std::move(t), target);
  return conclude(out, wanted, judge(out, wanted));
}

// Memory of a device goes back to the device of the caller's array, host memory to the host.
std::optional<device> home_of(device where) noexcept {
  if (needs_cuda(where.type)) return device(kDLCUDA, where.id);
  if (is_host_memory(where.type)) return device();
  return std::nullopt;
}

// NumPy where it holds the memory as it is; otherwise, and where there is no NumPy, an Array.
PyObject* give_by_default(managed_tensor t) {
  const requirements as_it_is{.copy = copy_policy::never};
  const target_row* numpy = prepared(numpy_target());
  if (numpy == nullptr && !PyErr_ExceptionMatches(PyExc_ImportError)) return nullptr;
  PyErr_Clear();
  const bool holds = numpy != nullptr &&
                     negotiate(describe_own(t), as_it_is, numpy->holds).action != action::refuse;
  return convert(std::move(t), holds ? *numpy : array_target(), {});
}

PyObject* give_to(managed_tensor t, target_row& target, const requirements& wanted) {
  return prepared(target) == nullptr ? nullptr : convert(std::move(t), target, wanted);
}

// What all of them do alike: `make` gives the result of an array that is one.
template <class Make>
PyObject* give_guarded(const managed_tensor& t, Make make) noexcept {
  if (!initialize_python()) return nullptr;
  try {
    if (!t) {
      const std::string text = "the array is malformed: it is empty, made by default or moved from";
      throw exchange_error(text, {{reason_code::malformed, text}});
    }
    return make();
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

}  // namespace

PyObject* give(managed_tensor t) noexcept {
  return give_guarded(t, [&] { return give_by_default(std::move(t)); });
}

PyObject* give(managed_tensor t, framework to) noexcept {
  return give_guarded(t, [&] { return give_to(std::move(t), *target_of(to), {}); });
}

PyObject* give_back(managed_tensor t, const array_origin& origin) noexcept {
  return give_guarded(t, [&] {
    target_row* target = target_of(static_cast<framework>(origin.world));
    if (target == nullptr) return give_by_default(std::move(t));
    return give_to(std::move(t), *target, {.device = home_of(origin.where)});
  });
}

managed_tensor second_of(managed_tensor& t) {
  if (!t) return {};
  const tensor_view view = t.view();
  const std::uint64_t flags = t.flags();
  const auto wrap = [&, origin = t.origin(), stream = t.stream()](owner keep) {
    managed_tensor made = managed_tensor::wrap(view, std::move(keep), flags);
    made.set_origin(origin);
    made.set_stream(stream);
    return made;
  };
  owner first =
      owner::of_managed(std::move(t).release());  // what the view borrows from stays there
  owner second = shared_owner::second_of(first);
  t = wrap(std::move(first));
  return wrap(std::move(second));
}

owner keep_object(PyObject* object) {
  if (object == nullptr) throw std::invalid_argument("the owner is an object without a value");
  if (!initialize_python()) throw std::runtime_error("dlpack_bridge cannot be initialised");
  return own_object(object);
}

void raise_hub_error() noexcept {
  if (initialize_python()) raise_current_exception();
}

}  // namespace dlpack_bridge::python
