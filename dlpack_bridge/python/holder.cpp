#include <dlpack_bridge/python/holder.hpp>

#include <cstdlib>
#include <new>

#include <dlpack_bridge/host_memory.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {
namespace {

struct holder_object {
  PyObject_HEAD owner keep;
  live_object_token token;
};

// Memory of `allocate_with_holder`, known by this function.
void free_with_holder(void* start) noexcept { std::free(start); }

[[gnu::hot]] void holder_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<holder_object*>(object);
  self->token.~live_object_token();
  if (self->keep.release_by() == free_with_holder) return std::free(object);
  drop_with_gil(self->keep);
  self->keep.~owner();
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

[[gnu::hot]] ref make_holder(owner&& keep) noexcept {
  const bool has_room = keep.release_by() == free_with_holder;
  void* const memory = has_room ? keep.get() : PyObject_Malloc(sizeof(holder_object));
  if (memory == nullptr) return ref::steal(PyErr_NoMemory());
  auto* self = static_cast<holder_object*>(memory);
  PyObject_Init(reinterpret_cast<PyObject*>(self), &holder_type);
  new (&self->keep) owner(std::move(keep));
  new (&self->token) live_object_token();
  return ref::steal(reinterpret_cast<PyObject*>(self));
}

backend_memory allocate_with_holder(std::int64_t nbytes, std::int64_t alignment) {
  const detail::host_memory memory = detail::allocate_host_memory(
      sizeof(holder_object), static_cast<std::size_t>(nbytes), static_cast<std::size_t>(alignment));
  return {.data = memory.elements, .keep = owner(memory.start, free_with_holder), .home = {}};
}

}  // namespace dlpack_bridge::python
