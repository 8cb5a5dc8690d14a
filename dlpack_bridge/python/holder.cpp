#include <dlpack_bridge/python/holder.hpp>

#include <new>

#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {
namespace {

struct holder_object {
  PyObject_HEAD owner keep;
  live_object_token token;
};

void holder_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<holder_object*>(object);
  drop_with_gil(self->keep);
  self->keep.~owner();
  self->token.~live_object_token();
  PyObject_Free(object);
}

// A static type: instances are made on the hot path and need no reference to their type.
PyTypeObject holder_type;

}  // namespace

bool initialize_holder_type() noexcept {
  if (holder_type.tp_name != nullptr) return true;
  holder_type.ob_base = PyVarObject{PyObject_HEAD_INIT(nullptr) 0};
  holder_type.tp_name = "dlpack_bridge._Holder";
  holder_type.tp_basicsize = sizeof(holder_object);
  holder_type.tp_dealloc = holder_dealloc;
  holder_type.tp_flags = Py_TPFLAGS_DEFAULT;
  holder_type.tp_doc = "Keeps the memory of a shared array alive.";
  return PyType_Ready(&holder_type) == 0;
}

ref make_holder(owner keep) noexcept {
  auto* self = PyObject_New(holder_object, &holder_type);
  if (self == nullptr) return {};
  new (&self->keep) owner(std::move(keep));
  new (&self->token) live_object_token();
  return ref::steal(reinterpret_cast<PyObject*>(self));
}

}  // namespace dlpack_bridge::python
