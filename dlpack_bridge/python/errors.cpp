#include <dlpack_bridge/python/errors.hpp>

#include <new>
#include <stdexcept>

#include <structmember.h>

#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/python/process_state.hpp>

namespace dlpack_bridge::python {
namespace {

// ---- Reason: a code and a sentence -------------------------------------------------------------

struct reason_object {
  PyObject_HEAD PyObject* code;
  PyObject* message;
};

PyObject* reason_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"code", "message", nullptr};
  PyObject *code, *message;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UU:Reason", const_cast<char**>(names), &code,
                                   &message)) {
    return nullptr;
  }
  auto* self = reinterpret_cast<reason_object*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  Py_INCREF(code);
  Py_INCREF(message);
  self->code = code;
  self->message = message;
  return reinterpret_cast<PyObject*>(self);
}

void reason_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<reason_object*>(object);
  PyTypeObject* type = Py_TYPE(object);
  Py_XDECREF(self->code);
  Py_XDECREF(self->message);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* reason_str(PyObject* object) {
  auto* self = reinterpret_cast<reason_object*>(object);
  return PyUnicode_FromFormat("%U: %U", self->code, self->message);
}

PyObject* reason_repr(PyObject* object) {
  auto* self = reinterpret_cast<reason_object*>(object);
  return PyUnicode_FromFormat("Reason(code=%R, message=%R)", self->code, self->message);
}

PyObject* reason_compare(PyObject* a, PyObject* b, int op) {
  if ((op != Py_EQ && op != Py_NE) || Py_TYPE(a) != Py_TYPE(b)) Py_RETURN_NOTIMPLEMENTED;
  auto* left = reinterpret_cast<reason_object*>(a);
  auto* right = reinterpret_cast<reason_object*>(b);
  const int same_code = PyObject_RichCompareBool(left->code, right->code, Py_EQ);
  if (same_code < 0) return nullptr;
  const int same = same_code ? PyObject_RichCompareBool(left->message, right->message, Py_EQ) : 0;
  if (same < 0) return nullptr;
  return PyBool_FromLong((op == Py_EQ) == (same != 0));
}

Py_hash_t reason_hash(PyObject* object) {
  auto* self = reinterpret_cast<reason_object*>(object);
  const Py_hash_t a = PyObject_Hash(self->code);
  const Py_hash_t b = a == -1 ? -1 : PyObject_Hash(self->message);
  if (b == -1) return -1;
  const Py_hash_t mixed = a ^ (b * 1000003);
  return mixed == -1 ? -2 : mixed;
}

PyObject* reason_reduce(PyObject* object, PyObject*) {
  auto* self = reinterpret_cast<reason_object*>(object);
  return Py_BuildValue("O(OO)", Py_TYPE(object), self->code, self->message);
}

PyTypeObject* make_reason_type() noexcept {
  static PyMemberDef members[] = {
      {"code", T_OBJECT_EX, offsetof(reason_object, code), READONLY, "The reason code, a str."},
      {"message", T_OBJECT_EX, offsetof(reason_object, message), READONLY,
       "A sentence for people; ends in the remedy where there is one."},
      {nullptr, 0, 0, 0, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", reason_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("Reason(code, message)\n--\n\n"
                                    "Why an array is copied or refused: a code and a sentence.")},
      {Py_tp_new, reinterpret_cast<void*>(reason_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(reason_dealloc)},
      {Py_tp_str, reinterpret_cast<void*>(reason_str)},
      {Py_tp_repr, reinterpret_cast<void*>(reason_repr)},
      {Py_tp_richcompare, reinterpret_cast<void*>(reason_compare)},
      {Py_tp_hash, reinterpret_cast<void*>(reason_hash)},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {0, nullptr}};
  static PyType_Spec spec = {"dlpack_bridge.Reason", sizeof(reason_object), 0, Py_TPFLAGS_DEFAULT,
                             slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

// ---- exception classes -------------------------------------------------------------------------

PyObject* make_error(const char* name, const char* doc, std::initializer_list<PyObject*> bases,
                     PyObject* attributes = nullptr) noexcept {
  const ref tuple = ref::steal(PyTuple_New(static_cast<Py_ssize_t>(bases.size())));
  if (!tuple) return nullptr;
  Py_ssize_t i = 0;
  for (PyObject* base : bases) {
    Py_INCREF(base);
    PyTuple_SET_ITEM(tuple.get(), i++, base);
  }
  return PyErr_NewExceptionWithDoc(name, doc, tuple.get(), attributes);
}

ref text_of(const std::string& text) noexcept {
  // A producer's message may hold anything: never fail on it.
  return ref::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

void set_with(PyObject* type, const std::string& message,
              std::initializer_list<std::pair<const char*, PyObject*>> attributes,
              PyObject* cause) noexcept {
  const ref text = text_of(message);
  if (!text) return;
  const ref error = ref::steal(PyObject_CallFunctionObjArgs(type, text.get(), nullptr));
  if (!error) return;
  for (const auto& [name, value] : attributes) {
    if (value == nullptr || PyObject_SetAttrString(error.get(), name, value) != 0) return;
  }
  if (cause != nullptr) {
    Py_INCREF(cause);
    PyException_SetCause(error.get(), cause);
    Py_INCREF(cause);
    PyException_SetContext(error.get(), cause);
  }
  PyErr_SetObject(type, error.get());
}

}  // namespace

bool make_error_types(process_state& fresh) noexcept {
  const ref none_yet = ref::steal(Py_BuildValue("{s:()}", "blockers"));
  const ref unknown =
      ref::steal(Py_BuildValue("{s:s,s:i,s:()}", "name", "", "code", 0, "blockers"));
  if (!none_yet || !unknown) return false;
  fresh.reason_type = make_reason_type();
  fresh.exchange_error = make_error(
      "dlpack_bridge.ExchangeError",
      "An exchange that was refused. `blockers` holds every reason, each with its remedy.",
      {PyExc_BufferError}, none_yet.get());
  if (fresh.reason_type == nullptr || fresh.exchange_error == nullptr) return false;
  fresh.copy_required_error =
      make_error("dlpack_bridge.CopyRequiredError",
                 "copy=False is the only obstacle: the same call with copy=None would work.",
                 {fresh.exchange_error, PyExc_ValueError});
  fresh.not_an_array_error =
      make_error("dlpack_bridge.NotAnArrayError",
                 "The object is no array: it speaks none of the protocols, or is a list, a number.",
                 {PyExc_TypeError, PyExc_AttributeError});
  fresh.cuda_error =
      make_error("dlpack_bridge.CudaError",
                 "A CUDA driver failure: `name` and `code` are the driver's. `blockers` holds "
                 "every reason where an exchange was refused for it.",
                 {PyExc_RuntimeError}, unknown.get());
  return fresh.copy_required_error != nullptr && fresh.not_an_array_error != nullptr &&
         fresh.cuda_error != nullptr;
}

ref make_reason(const reason& r) noexcept {
  const ref message = text_of(r.message);
  if (!message) return {};
  return ref::steal(PyObject_CallFunction(reinterpret_cast<PyObject*>(state().reason_type), "sO",
                                          to_string(r.code), message.get()));
}

ref make_reasons(const std::vector<reason>& all) noexcept {
  ref tuple = ref::steal(PyTuple_New(static_cast<Py_ssize_t>(all.size())));
  if (!tuple) return {};
  for (std::size_t i = 0; i < all.size(); ++i) {
    ref item = make_reason(all[i]);
    if (!item) return {};
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), item.release());
  }
  return tuple;
}

void raise_refusal(PyObject* type, const std::string& message, const std::vector<reason>& blockers,
                   PyObject* cause) noexcept {
  const ref reasons = make_reasons(blockers);
  if (reasons) set_with(type, message, {{"blockers", reasons.get()}}, cause);
}

void raise_not_an_array(PyObject* object) noexcept {
  PyErr_Format(
      state().not_an_array_error,
      "expected an array, got %.200s: it has neither __dlpack__, a DLPack exchange API, the "
      "buffer protocol nor an array interface; make an array of it first, e.g. "
      "numpy.asarray(x)",
      Py_TYPE(object)->tp_name);
}

bool clear_not_an_array() noexcept {
  if (!PyErr_ExceptionMatches(state().not_an_array_error)) return false;
  PyErr_Clear();
  return true;
}

bool refuse_capture() noexcept {
  const std::string text =
      "a CUDA graph capture is in progress on a stream of the array or of its source; export the "
      "array before the capture";
  raise_refusal(state().exchange_error, text, {{reason_code::capture, text}});
  return false;
}

void raise_driver_failure(const driver_status& failed, const std::string& message,
                          const std::vector<reason>& blockers) noexcept {
  const ref reasons = make_reasons(blockers);
  const ref name = ref::steal(PyUnicode_FromString(failed.name));
  const ref code = ref::steal(PyLong_FromLong(failed.code));
  if (!reasons || !name || !code) return;
  set_with(state().cuda_error, std::string(failed.name) + ": " + message,
           {{"blockers", reasons.get()}, {"name", name.get()}, {"code", code.get()}}, nullptr);
}

void raise_current_exception() noexcept {
  try {
    throw;
  } catch (const exchange_error& error) {
    raise_refusal(state().exchange_error, error.what(), error.blockers());
  } catch (const device_error& error) {
    raise_driver_failure({error.code(), error.name().c_str()}, error.what(), {});
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

}  // namespace dlpack_bridge::python
