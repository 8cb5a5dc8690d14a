#include <dlpack_bridge/python/release.hpp>

#include <cstdlib>

#include <dlpack_bridge/python/process_state.hpp>

namespace dlpack_bridge::python {
namespace {

bool has_gil() noexcept {
  // After the interpreter is gone PyGILState_Check answers yes, so Py_IsInitialized comes first.
  return PyGILState_Check() != 0;
}

int drain_as_pending_call(void*) {
  drain_late_releases();
  return 0;
}

void release_late(void* object, void (*release)(void*) noexcept) noexcept {
  auto* node = static_cast<late_release*>(std::malloc(sizeof(late_release)));
  if (node == nullptr || state().finalizing.load(std::memory_order_acquire)) {
    std::free(node);
    state().counted.leaked.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  *node = {object, release, state().late.load(std::memory_order_relaxed)};
  while (!state().late.compare_exchange_weak(node->next, node, std::memory_order_release,
                                             std::memory_order_relaxed)) {
  }
  state().counted.pending_releases.fetch_add(1, std::memory_order_relaxed);
  // One pending call for many releases: its queue has 32 places. When it is full the next entry
  // into the hub drains.
  if (!state().drain_scheduled.exchange(true) && Py_AddPendingCall(drain_as_pending_call, nullptr) != 0) {
    state().drain_scheduled.store(false);
  }
}

// Lets go of a Python thing from wherever we are.
void release_anywhere(void* object, void (*release)(void*) noexcept) noexcept {
  if (!Py_IsInitialized()) return;  // leak: there is no interpreter to give it to
  if (!has_gil()) {
    release_late(object, release);
    return;
  }
  if (PyErr_Occurred() == nullptr) {
    release(object);
  } else {
    const error_guard guard;
    release(object);
  }
}

void decref(void* object) noexcept { Py_DECREF(static_cast<PyObject*>(object)); }

void release_buffer(void* object) noexcept {
  auto* buffer = static_cast<Py_buffer*>(object);
  PyBuffer_Release(buffer);
  PyMem_RawFree(buffer);
}

}  // namespace

owner own_object(PyObject* object) noexcept {
  Py_INCREF(object);
  return owner(object, [](void* kept) noexcept { release_anywhere(kept, decref); });
}

owner own_buffer(Py_buffer* buffer) noexcept {
  return owner(buffer, [](void* kept) noexcept { release_anywhere(kept, release_buffer); });
}

std::int64_t drain_late_releases() noexcept {
  state().drain_scheduled.store(false);
  late_release* node = state().late.exchange(nullptr, std::memory_order_acquire);
  if (node == nullptr) return 0;
  const error_guard guard;
  std::int64_t released = 0;
  while (node != nullptr) {
    late_release* const next = node->next;
    node->release(node->object);
    std::free(node);
    node = next;
    ++released;
  }
  state().counted.pending_releases.fetch_sub(released, std::memory_order_relaxed);
  return released;
}

}  // namespace dlpack_bridge::python
