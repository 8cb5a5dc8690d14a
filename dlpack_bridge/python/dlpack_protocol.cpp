// Producers with `__dlpack__`, and DLPack capsules given as they are.

#include <array>
#include <string>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

void nothing_known(inbound& in) noexcept {
  in.desc.has_layout = in.desc.has_dtype = in.desc.has_device = false;
}

// ---- capsules --------------------------------------------------------------------------------

void describe_versioned(inbound& in, const DLManagedTensorVersioned& tensor, bool immutable) {
  if (!is_readable(tensor.version)) {
    nothing_known(in);
    in.refuse(why::version, "the capsule has version " + std::to_string(tensor.version.major) +
                                "." + std::to_string(tensor.version.minor) + " and the hub reads " +
                                std::to_string(DLPACK_MAJOR_VERSION) +
                                ".x; export it with max_version=(1, 3)");
    return;
  }
  describe_tensor(in, tensor.dl_tensor,
                  immutable ? tensor.flags | DLPACK_FLAG_BITMASK_READ_ONLY : tensor.flags);
}

// What a capsule holds, by its name. Nothing is consumed.
void describe_capsule(inbound& in, bool immutable) {
  PyObject* capsule = in.capsule.get();
  switch (kind_of_capsule(capsule)) {
    case capsule_kind::versioned:
      describe_versioned(in, *peek_versioned(capsule), immutable);
      return;
    case capsule_kind::legacy:
      describe_tensor(in, *peek_legacy(capsule), immutable ? DLPACK_FLAG_BITMASK_READ_ONLY : 0);
      return;
    case capsule_kind::consumed:
      nothing_known(in);
      in.refuse(why::capsule,
                "it was consumed already, and a capsule is good for one use; export "
                "the array again");
      return;
    case capsule_kind::foreign: break;
  }
  const char* name = PyCapsule_GetName(capsule);
  PyErr_Clear();
  nothing_known(in);
  in.refuse(why::capsule,
            "a capsule named \"" + std::string(name == nullptr ? "" : name) +
                "\" is no DLPack capsule; pass one named \"dltensor\" or \"dltensor_versioned\"");
}

bool describe_raw_capsule(inbound& in, const requirements&) {
  in.capsule = ref::borrow(in.object);
  describe_capsule(in, /*immutable=*/false);
  return true;
}

owner take_capsule(inbound& in) { return consume_capsule(in.capsule.get()); }

// ---- __dlpack_device__ -----------------------------------------------------------------------

// Ints and enums of ints; -1 with an error set otherwise.
long as_int(PyObject* object) noexcept {
  const ref value = PyLong_Check(object) ? ref::borrow(object) : attribute_or_none(object, "value");
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

// Where the producer says its array is; empty with an error set.
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
  return device(static_cast<DLDeviceType>(type), static_cast<std::int32_t>(id));
}

// The capsule describes the memory. Libraries announce pinned and managed memory as another kind
// (torch: pinned tensors say (3, 0), their capsule says CPU); anything else is an error.
bool agree(device announced, device found) noexcept {
  if (announced == found) return true;
  const auto host = [](DLDeviceType t) {
    return t == kDLCPU || t == kDLCUDAHost || t == kDLROCMHost || t == kDLCUDAManaged;
  };
  return host(announced.type) && host(found.type);
}

// ---- __dlpack__ ------------------------------------------------------------------------------

// The call failed because the producer has no such keyword: nothing of it ran, so there is no
// traceback. A TypeError of its own is not retried.
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

// The keywords the hub offers, most wanted last: they are dropped from the end.
struct offered_keywords {
  std::array<PyObject*, 3> names{};
  std::array<PyObject*, 3> values{};
  int count = 0;

  void add(PyObject* name, PyObject* value) noexcept {
    names[static_cast<std::size_t>(count)] = name;
    values[static_cast<std::size_t>(count++)] = value;
  }
};

ref call_dlpack(PyObject* method, PyObject* self, const offered_keywords& offered,
                int required) noexcept {
  for (int count = offered.count;; --count) {
    ref names;
    if (count > 0) {
      names = ref::steal(PyTuple_New(count));
      if (!names) return {};
      for (int i = 0; i < count; ++i) {
        Py_INCREF(offered.names[static_cast<std::size_t>(i)]);
        PyTuple_SET_ITEM(names.get(), i, offered.names[static_cast<std::size_t>(i)]);
      }
    }
    ref capsule = call_method(method, self, offered.values.data(), names.get());
    if (capsule || count == required || !lacks_keyword()) return capsule;
    PyErr_Clear();
  }
}

// A GPU producer is always told a stream. Until a driver orders it, it is the legacy default
// stream for an exchange, and none for a look.
ref stream_argument(const inbound& in) noexcept {
  return ref::steal(
      PyLong_FromLong(in.mode == look::borrow && in.desc.source != framework::jax ? -1 : 1));
}

bool describe_by_protocol(inbound& in, const requirements& wanted) {
  static PyObject* const stream_name = PyUnicode_InternFromString("stream");
  static PyObject* const version_name = PyUnicode_InternFromString("max_version");
  static PyObject* const copy_name = PyUnicode_InternFromString("copy");
  static PyObject* const our_version =
      Py_BuildValue("(ii)", DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION);
  const ref dlpack = ref::borrow(in.entry->dlpack);
  const ref dlpack_device = ref::borrow(in.entry->dlpack_device);
  const bool immutable = in.entry->immutable;

  std::optional<device> announced;
  if (dlpack_device) {
    announced = announced_device(dlpack_device.get(), in.object);
    if (!announced) return in.refuse_producer_error();
  }
  offered_keywords offered;
  const bool on_gpu = announced && (needs_cuda(announced->type) || announced->type == kDLROCM);
  const ref stream = on_gpu ? stream_argument(in) : ref();
  if (stream) offered.add(stream_name, stream.get());
  offered.add(version_name, our_version);
  if (wanted.copy == copy_policy::never) offered.add(copy_name, Py_False);

  in.capsule = call_dlpack(dlpack.get(), in.object, offered, on_gpu ? 1 : 0);
  if (!in.capsule) {
    if (on_gpu && lacks_keyword()) {
      PyErr_Clear();
      nothing_known(in);
      in.refuse(why::stream,
                "the producer's __dlpack__ takes no stream, so nobody can order its "
                "work; synchronize it and pass stream=-1");
      return true;
    }
    return in.refuse_producer_error();
  }
  if (!PyCapsule_CheckExact(in.capsule.get())) {
    const std::string got = Py_TYPE(in.capsule.get())->tp_name;
    in.capsule = ref();
    nothing_known(in);
    in.refuse(why::capsule, "__dlpack__ returned an object of type " + got +
                                "; mend the producer to return a DLPack capsule");
    return true;
  }
  describe_capsule(in, immutable);
  if (announced && in.desc.has_device && !agree(*announced, in.desc.view.device())) {
    in.refuse(why::malformed, "__dlpack_device__ says " + announced->name() +
                                  " and the capsule says " + in.desc.view.device().name());
  }
  return true;
}

}  // namespace

const source_row dlpack_source{"dlpack", framework::other, describe_by_protocol, take_capsule};
const source_row capsule_source{"dlpack_capsule", framework::other, describe_raw_capsule,
                                take_capsule};

}  // namespace dlpack_bridge::python
