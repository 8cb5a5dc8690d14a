#include <dlpack_bridge/python/release.hpp>

#include <array>
#include <cstdlib>
#include <new>
#include <utility>

#include <dlpack_bridge/python/process_state.hpp>

namespace dlpack_bridge::python {
namespace {

// This thread's state when it has the GIL, else null; null as well when the interpreter is gone. Before
// 3.12 CPython no longer tells threads apart once there was a subinterpreter.
PyThreadState* state_with_gil() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030C0000
  return _PyThreadState_UncheckedGet();
#else
  // Of whichever thread has it; a check on its own says yes when the interpreter is gone.
  PyThreadState* const holder = _PyThreadState_UncheckedGet();
  return holder != nullptr && PyGILState_Check() != 0 ? holder : nullptr;
#endif
}

int drain_as_pending_call(void*) {
  state().drain_scheduled.store(false);  // first: what comes from here on wants another call
  drain_late_releases();
  return 0;
}

[[gnu::cold]] void release_late(void* object, void (*release)(void*) noexcept) noexcept {
  auto* node = static_cast<late_release*>(std::malloc(sizeof(late_release)));
  if (node == nullptr || state().finalizing.load(std::memory_order_acquire) ||
      !Py_IsInitialized()) {
    std::free(node);
    state().counted.leaked.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  *node = {object, release, state().late.load(std::memory_order_relaxed)};
  while (!state().late.compare_exchange_weak(node->next, node)) {
  }
  state().counted.pending_releases.fetch_add(1, std::memory_order_relaxed);
  // One pending call at a time: their queue has 32 places, and only the main thread runs them. When it is
  // full the next entry into the hub drains. Looked at behind the push, as the call empties the queue
  // behind its reset: one of them sees the other.
  const bool scheduled = state().drain_scheduled.load() || state().drain_scheduled.exchange(true);
  if (!scheduled && Py_AddPendingCall(drain_as_pending_call, nullptr) != 0) {
    state().drain_scheduled.store(false);
  }
}

using release_function = owner::release_function;

// What is pending in a thread's state, exchanged for something else. Only the thread itself does so, and
// needs no GIL for it.
#if PY_VERSION_HEX >= 0x030C0000
using error_parts = std::array<PyObject*, 1>;
error_parts exchange_pending(PyThreadState* own, error_parts with) noexcept {
  return {std::exchange(own->current_exception, with[0])};
}
bool has_pending(const PyThreadState* own) noexcept { return own->current_exception != nullptr; }
#else
using error_parts = std::array<PyObject*, 3>;
error_parts exchange_pending(PyThreadState* own, error_parts with) noexcept {
  return {std::exchange(own->curexc_type, with[0]), std::exchange(own->curexc_value, with[1]),
          std::exchange(own->curexc_traceback, with[2])};
}
bool has_pending(const PyThreadState* own) noexcept { return own->curexc_type != nullptr; }
#endif

// With the GIL, which `own` has. What is pending stays pending, what the release leaves behind is
// discarded.
void release_guarded(PyThreadState* own, void* object, release_function release) noexcept {
  if (has_pending(own)) [[unlikely]] {
    const error_guard guard;
    release(object);
    return;
  }
  release(object);
  if (has_pending(own)) [[unlikely]]
    PyErr_Clear();
}

// From the handlers at exit on.
bool is_ending() noexcept { return state().finalizing.load(std::memory_order_acquire); }

// Nobody is asked before that: the end is where it is rare.
bool is_gone() noexcept { return is_ending() && !Py_IsInitialized(); }

// This thread's state; null where it has none, or where the interpreter takes them away.
PyThreadState* own_thread_state() noexcept {
  return is_ending() ? nullptr : PyGILState_GetThisThreadState();
}

// Whether a thread's state is the only one of its interpreter: no other Python thread can hold the GIL
// then, nor come for it, so taking it waits for no one. torch >= 2.13 gives the GIL away while it drops a
// tensor (THPVariable_clear), and this is how its memory still goes back at once. That nobody has the GIL
// at the moment would not do: another thread may take it first and wait for a lock that is held here.
bool is_only_python_thread(const PyThreadState* own) noexcept {
  return own->prev == nullptr && own->next == nullptr;
}

// Runs a release with the GIL if that costs no waiting; false when it does.
bool release_with_gil(void* object, release_function release) noexcept {
  if (PyThreadState* const holder = state_with_gil()) {
    release_guarded(holder, object, release);
    return true;
  }
  PyThreadState* const own = own_thread_state();
  if (own == nullptr || !is_only_python_thread(own)) return false;
  PyEval_RestoreThread(own);
  release_guarded(own, object, release);
  PyEval_SaveThread();
  return true;
}

// Lets go of a Python thing from wherever we are.
void release_anywhere(void* object, release_function release) noexcept {
  if (is_gone()) [[unlikely]]
    return;  // leak: there is no interpreter to give it to
  if (!release_with_gil(object, release)) release_late(object, release);
}

void decref(void* object) noexcept { Py_DECREF(static_cast<PyObject*>(object)); }

// Runs a release that may take the GIL itself: what is pending stays pending, what it leaves behind is
// discarded, as with the GIL.
[[gnu::cold]] void release_without_gil(void* object, release_function release) noexcept {
  PyThreadState* const own = own_thread_state();
  const error_parts pending = own == nullptr ? error_parts{} : exchange_pending(own, {});
  release(object);
  if (own == nullptr || own != own_thread_state()) return;
  for (PyObject* const left : exchange_pending(own, pending)) {
    if (left != nullptr) release_late(left, decref);
  }
}

template <class Managed>
void run_deleter(void* object) noexcept {
  if (static_cast<Managed*>(object)->deleter == nullptr) return;
  release_here(object, [](void* dying) noexcept {
    static_cast<Managed*>(dying)->deleter(static_cast<Managed*>(dying));
  });
}

void release_buffer(void* object) noexcept {
  auto* buffer = static_cast<Py_buffer*>(object);
  PyBuffer_Release(buffer);
  PyMem_RawFree(buffer);
}

}  // namespace

[[gnu::hot]] void release_object(void* object) noexcept { release_anywhere(object, decref); }

[[gnu::hot]] void release_here(void* object, owner::release_function release) noexcept {
  if (is_gone()) [[unlikely]]
    release(object);
  else if (!release_with_gil(object, release)) release_without_gil(object, release);
}

[[gnu::hot]] void drop_with_gil(owner& keep) noexcept {
  if (keep.release_by() == release_object) decref(keep.give_up());
  else keep.reset();
}

const Py_buffer* borrow_buffer(PyObject* object, int flags, owner& keep) noexcept {
  auto* buffer = static_cast<Py_buffer*>(PyMem_RawCalloc(1, sizeof(Py_buffer)));
  if (buffer == nullptr) {
    PyErr_NoMemory();
    return nullptr;
  }
  if (PyObject_GetBuffer(object, buffer, flags) != 0) {
    PyMem_RawFree(buffer);
    return nullptr;
  }
  keep = owner(buffer, [](void* kept) noexcept { release_anywhere(kept, release_buffer); });
  return buffer;
}

owner own_managed(DLManagedTensorVersioned* tensor) noexcept {
  return owner(tensor, run_deleter<DLManagedTensorVersioned>);
}

owner own_managed(DLManagedTensor* tensor) noexcept {
  return owner(tensor, run_deleter<DLManagedTensor>);
}

bool may_wait_for_gil(const owner& keep) noexcept {
  return keep.release_by() == run_deleter<DLManagedTensorVersioned> ||
         keep.release_by() == run_deleter<DLManagedTensor>;
}

// A foreign deleter may take the GIL itself, which a thread without Python must not do while the
// interpreter goes away: a GIL holder runs it.
void release_due(owner due) noexcept {
  if (!Py_IsInitialized()) {
    // Leaked: memory of a process that ends.
    if (auto* kept = new (std::nothrow) owner(std::move(due))) (void)kept;
    return;
  }
  auto* kept = new (std::nothrow) owner(std::move(due));
  if (kept == nullptr) return;  // released here
  const release_function drop = [](void* object) noexcept { delete static_cast<owner*>(object); };
  if (PyThreadState* const holder = state_with_gil()) release_guarded(holder, kept, drop);
  else release_late(kept, drop);
}

std::int64_t drain_late_releases() noexcept {
  late_release* node = state().late.exchange(nullptr);
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
