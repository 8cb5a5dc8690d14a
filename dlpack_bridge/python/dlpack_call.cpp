#include <dlpack_bridge/python/dlpack_call.hpp>

#include <array>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <limits>

#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

// Ints, NumPy's too, and enums of ints; -1 with an error set otherwise.
long as_int(PyObject* object) noexcept {
  const ref value = PyIndex_Check(object) ? ref::steal(PyNumber_Index(object))
                                          : attribute_or_none(object, "value");
  if (!value && PyErr_Occurred()) return -1;
  if (!value) {
    PyErr_Format(PyExc_TypeError, "expected an int, got %.200s", Py_TYPE(object)->tp_name);
    return -1;
  }
  return PyLong_AsLong(value.get());
}

// Calls a method found on the type: functions directly, other descriptors bound first.
ref call_method(PyObject* method, PyObject* self, PyObject* const* values,
                PyObject* names) noexcept {
  std::array<PyObject*, 5> arguments{nullptr, self};
  const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < keywords; ++i) arguments[static_cast<std::size_t>(i + 2)] = values[i];
  if (PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR)) {
    return ref::steal(PyObject_Vectorcall(method, arguments.data() + 1,
                                          1 | PY_VECTORCALL_ARGUMENTS_OFFSET, names));
  }
  const descrgetfunc bind = Py_TYPE(method)->tp_descr_get;
  const ref bound =
      bind == nullptr ? ref::borrow(method)
                      : ref::steal(bind(method, self, reinterpret_cast<PyObject*>(Py_TYPE(self))));
  if (!bound) return {};
  return ref::steal(PyObject_Vectorcall(bound.get(), arguments.data() + 2,
                                        0 | PY_VECTORCALL_ARGUMENTS_OFFSET, names));
}

// The keywords that the hub offers.
constexpr const char* offered_names[] = {"stream", "max_version", "copy"};
constexpr unsigned with_stream = 1, with_version = 2, with_copy = 4;

// A tuple of those in the set, for a vectorcall; made once.
PyObject* names_of(unsigned set) noexcept {
  static PyObject* made[8] = {};
  PyObject*& names = made[set];
  if (names != nullptr) return names;
  ref all = ref::steal(PyTuple_New(std::popcount(set)));
  Py_ssize_t place = 0;
  for (unsigned i = 0; all && i < std::size(offered_names); ++i) {
    if ((set >> i & 1) == 0) continue;
    PyObject* name = PyUnicode_InternFromString(offered_names[i]);
    if (name == nullptr) return nullptr;
    PyTuple_SET_ITEM(all.get(), place++, name);
  }
  return names = all.release();
}

PyObject* our_version() noexcept {
  static PyObject* const version =
      Py_BuildValue("(II)", exported_dlpack_version.major, exported_dlpack_version.minor);
  return version;
}

// Calls with the values of `stream` (when there is one), `max_version` and `copy` (when it is
// forbidden), and without those that the producer lacks.
ref call_dlpack(const dlpack_call& call, PyObject* stream, bool stream_required) noexcept {
  PyObject* const offered[] = {stream, our_version(), Py_False};
  const unsigned always = stream == nullptr ? 0 : with_stream;
  const unsigned copy = call.forbids_copy ? with_copy : 0;
  // Who forbids a copy wants that more than a version.
  const unsigned attempts[] = {always | with_version | copy, always | copy, always | with_version,
                               always, stream_required ? always : 0};
  unsigned tried = 0;  // bit n: the set n
  ref capsule;
  for (const unsigned set : attempts) {
    if ((tried >> set & 1) != 0) continue;
    if (tried != 0) PyErr_Clear();
    tried |= 1U << set;
    PyObject* const names = names_of(set);
    if (names == nullptr) return {};
    PyObject* values[std::size(offered_names)];
    std::size_t count = 0;
    for (std::size_t i = 0; i < std::size(offered_names); ++i) {
      if ((set >> i & 1) != 0) values[count++] = offered[i];
    }
    capsule = call_method(call.dlpack.get(), call.self.get(), values, names);
    if (capsule || !lacks_keyword()) break;
  }
  return capsule;
}

// One `__dlpack__` call on a GPU, with the producer's device current.
ref ask_on_gpu(const dlpack_call& call, stream_handle stream, bool required) {
  const ref number = ref::steal(PyLong_FromLongLong(stream.protocol()));
  if (!number) return {};
  const bool cuda = needs_cuda(call.where.type) && cuda_status().answers();
  const owner current = cuda ? cuda_backend()->enter(call.where) : owner();
  return call_dlpack(call, number.get(), required);
}

// Some libraries refuse the per-thread default stream (torch: BufferError), others any stream for
// managed memory. An exception of theirs about that is not the end.
bool refuses_stream(stream_handle told, device where) noexcept {
  if (!told.per_thread() && where.type != kDLCUDAManaged) return false;
  return PyErr_ExceptionMatches(PyExc_BufferError) || PyErr_ExceptionMatches(PyExc_ValueError) ||
         PyErr_ExceptionMatches(PyExc_TypeError);
}

}  // namespace

bool lacks_keyword() noexcept {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const ref noted = value == nullptr ? ref() : ref::steal(PyException_GetTraceback(value));
  const bool binding =
      PyErr_GivenExceptionMatches(type, PyExc_TypeError) && traceback == nullptr && !noted;
  PyErr_Restore(type, value, traceback);
  return binding;
}

std::optional<device> announced_device(PyObject* method, PyObject* self) noexcept {
  const ref answer = call_method(method, self, nullptr, nullptr);
  if (!answer) return std::nullopt;
  if (!PyTuple_Check(answer.get()) || PyTuple_GET_SIZE(answer.get()) != 2) {
    PyErr_Format(PyExc_TypeError, "__dlpack_device__ returned %R instead of a pair", answer.get());
    return std::nullopt;
  }
  const long type = as_int(PyTuple_GET_ITEM(answer.get(), 0));
  if (type == -1 && PyErr_Occurred()) return std::nullopt;
  const long id = as_int(PyTuple_GET_ITEM(answer.get(), 1));
  if (id == -1 && PyErr_Occurred()) return std::nullopt;
  constexpr long largest = std::numeric_limits<std::int32_t>::max();
  if (std::abs(type) > largest || std::abs(id) > largest) {
    PyErr_Format(PyExc_ValueError, "__dlpack_device__ returned %R, which names no device",
                 answer.get());
    return std::nullopt;
  }
  return device(static_cast<DLDeviceType>(type), static_cast<std::int32_t>(id));
}

ref ask_in_order(const dlpack_call& call, stream_handle told, bool caller_orders,
                 stream_facts& streams) {
  streams.producer_unknown = !told.no_sync();
  ref capsule = ask_on_gpu(call, told, !caller_orders);
  if (capsule || !cuda_status().answers() || !refuses_stream(told, call.where)) return capsule;
  PyErr_Clear();
  // A bridge: the producer orders the hub's own stream, and the consumer waits for that.
  streams.producer.handle = cuda_backend()->own_stream(call.where);
  capsule = ask_on_gpu(call, streams.producer.handle, true);
  if (capsule || call.where.type != kDLCUDAManaged || lacks_keyword()) return capsule;
  PyErr_Clear();
  streams.producer.handle = stream_handle::legacy();
  return ask_on_host(call);
}

ref ask_on_host(const dlpack_call& call) { return call_dlpack(call, nullptr, false); }

}  // namespace dlpack_bridge::python
