// The values of an Array on the host, as NumPy has them: `__array__`, iteration, truth.

#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/target.hpp>

namespace dlpack_bridge::python {
namespace {

constexpr const char* host_remedy = "pass dlpack_bridge.to_numpy(x) to copy it to the host";

ref numpy_of(PyObject* object, const requirements& wanted = {}) {
  const target_row* numpy = prepared(numpy_target());
  return numpy == nullptr ? ref() : ref::steal(convert(object, *numpy, wanted));
}

// Reads what NumPy hands to `__array__`. What the hub has no name for is left to NumPy: `beyond` is its
// dtype then. False with an error set.
bool read_dtype(PyObject* given, requirements& wanted, ref& beyond) {
  if (given == Py_None || (wanted.dtype = dtype_from_object(given))) return true;
  if (!is_answer_error()) return false;
  PyErr_Clear();
  const ref numpy = ref::steal(PyImport_ImportModule("numpy"));
  if (numpy) beyond = ref::steal(PyObject_CallMethod(numpy.get(), "dtype", "(O)", given));
  if (!beyond) return false;
  if (!(wanted.dtype = dtype_from_object(beyond.get()))) {
    PyErr_Clear();
    return true;
  }
  beyond = ref();
  return true;
}

// The elements as they are, then NumPy's own conversion.
PyObject* converted_by_numpy(PyObject* object, PyObject* dtype, const requirements& wanted) {
  if (wanted.copy == copy_policy::never) {
    const std::string text = "the elements are " + as_array(object)->dtype.name() +
                             " and another type was asked for; pass copy=None to copy";
    raise_refusal(state().copy_required_error, text, {{reason_code::dtype, text}});
    return nullptr;
  }
  const ref native = numpy_of(object);
  return native ? PyObject_CallMethod(native.get(), "astype", "(O)", dtype) : nullptr;
}

}  // namespace

bool check_on_host(PyObject* object, const char* remedy) noexcept {
  const device where = as_array(object)->device;
  if (is_host_memory(where.type)) return true;
  const std::string text =
      "the array (" + summary(describe(as_array(object)->view())) + ") is not in host memory; " +
      (needs_cuda(where.type) ? remedy
                              : "the hub has no adapter for its device, so move "
                                "it to the CPU with its own framework first");
  raise_refusal(state().exchange_error, text, {{reason_code::device, text}});
  return false;
}

PyObject* array_as_numpy(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"dtype", "copy", nullptr};
  PyObject* type = Py_None;
  PyObject* copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:__array__", const_cast<char**>(names), &type,
                                   &copy)) {
    return nullptr;
  }
  requirements wanted;
  ref beyond;
  if (!check_on_host(object, host_remedy) || !read_copy(copy, wanted) ||
      !read_dtype(type, wanted, beyond)) {
    return nullptr;
  }
  if (beyond) return converted_by_numpy(object, beyond.get(), wanted);
  return numpy_of(object, wanted).release();
}

PyObject* array_iterator(PyObject* object) {
  const ref values = check_on_host(object, host_remedy) ? numpy_of(object) : ref();
  return values ? PyObject_GetIter(values.get()) : nullptr;
}

int array_truth(PyObject* object) {
  if (!check_on_host(object, host_remedy)) return -1;
  const std::int64_t size = as_array(object)->view().size();
  if (size > 1) {
    PyErr_SetString(PyExc_ValueError,
                    "the truth value of an array with more than one element is ambiguous; take "
                    "any() or all() of numpy.asarray(x)");
    return -1;
  }
  const ref value = size == 1 ? numpy_of(object) : ref::borrow(Py_False);
  return value ? PyObject_IsTrue(value.get()) : -1;
}

}  // namespace dlpack_bridge::python
