#include <dlpack_bridge/python/process_end.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

#include <dlpack_bridge/python/process_state.hpp>

namespace dlpack_bridge::python {
namespace {

std::terminate_handler handler_before = nullptr;
std::thread::id ending_thread;

// Before 3.14 CPython ends a daemon thread that wants the GIL of an interpreter that goes away with
// pthread_exit, which unwinds its stack. Where that meets `noexcept` the process would end with an abort,
// and what it unwinds would let go of Python objects without the GIL. The thread sleeps instead, as it
// does from 3.14 on (python/cpython#87135). Late in the end nobody can ask any more which thread was
// Python's.
[[noreturn]] void sleep_or_terminate() {
  const bool is_unwound = std::current_exception() == nullptr &&
                          std::this_thread::get_id() != ending_thread &&
                          (!Py_IsInitialized() || PyGILState_GetThisThreadState() != nullptr);
  while (is_unwound) std::this_thread::sleep_for(std::chrono::hours(1));
  if (handler_before != nullptr) handler_before();
  std::abort();
}

PyObject* on_exit(PyObject*, PyObject*) {
  state().finalizing.store(true, std::memory_order_release);
#if PY_VERSION_HEX < 0x030E0000
  ending_thread = std::this_thread::get_id();
  // A program that embeds Python may begin and end it again.
  const std::terminate_handler before = std::set_terminate(sleep_or_terminate);
  if (before != sleep_or_terminate) handler_before = before;
#endif
  Py_RETURN_NONE;
}

}  // namespace

bool register_process_end() noexcept {
  static PyMethodDef method = {"_dlpack_bridge_on_exit", on_exit, METH_NOARGS, nullptr};
  const ref hook = ref::steal(PyCFunction_New(&method, nullptr));
  const ref atexit = ref::steal(PyImport_ImportModule("atexit"));
  if (!hook || !atexit) return false;
  return static_cast<bool>(
      ref::steal(PyObject_CallMethod(atexit.get(), "register", "O", hook.get())));
}

}  // namespace dlpack_bridge::python
