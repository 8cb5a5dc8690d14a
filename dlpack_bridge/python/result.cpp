#include <dlpack_bridge/python/result.hpp>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/target.hpp>

namespace dlpack_bridge::python {
namespace {

const source_row cpp_source{"cpp", framework::cpp, nullptr, take_held};

// An array of C++ on its way in: described by what it is, owned already.
struct outgoing : inbound {
  outgoing(managed_tensor t, const target_row& towards) : inbound(Py_None, towards) {
    desc = describe(t);  // borrows from the block that `held` keeps
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
  const bool holds =
      numpy != nullptr && negotiate(describe(t), as_it_is, numpy->holds).action != action::refuse;
  return convert(std::move(t), holds ? *numpy : array_target(), {});
}

PyObject* give_to(managed_tensor t, target_row& target, const requirements& wanted) {
  return prepared(target) == nullptr ? nullptr : convert(std::move(t), target, wanted);
}

}  // namespace

PyObject* give(managed_tensor t) noexcept {
  if (!initialize_python()) return nullptr;
  try {
    return give_by_default(std::move(t));
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

PyObject* give(managed_tensor t, framework to) noexcept {
  if (!initialize_python()) return nullptr;
  try {
    return give_to(std::move(t), *target_of(to), {});
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

PyObject* give_back(managed_tensor t, const array_origin& origin) noexcept {
  if (!initialize_python()) return nullptr;
  try {
    target_row* target = target_of(static_cast<framework>(origin.world));
    if (target == nullptr) return give_by_default(std::move(t));
    return give_to(std::move(t), *target, {.device = home_of(origin.where)});
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

}  // namespace dlpack_bridge::python
