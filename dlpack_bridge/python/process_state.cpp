#include <dlpack_bridge/python/process_state.hpp>

#include <memory>

#ifdef __unix__
#include <pthread.h>
#endif

#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_end.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {

process_state* found_state = nullptr;

namespace {

// The name is the version: change it with every change of process_state and of what it points to, as
// array_object.
constexpr const char* capsule_name = "dlpack_bridge.process_state.8";

process_state*& found = found_state;

PyObject* shared_dict() noexcept {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (dict == nullptr && !PyErr_Occurred()) {
    PyErr_SetString(PyExc_RuntimeError, "this interpreter has no place for shared state");
  }
  return dict;
}

// One registry of loans for all binaries of the process: the backend that came first serves them.
void share_cuda_backend() {
  if (found->cuda != nullptr) {
    use_cuda_backend(*found->cuda);
  } else if (cuda_backend() != nullptr) {
    found->cuda = cuda_backend();
    found->cuda->set_release_runner(release_due);
    for (const auto use : found->without_cuda) use(*found->cuda);
  } else {
    found->without_cuda.push_back(use_cuda_backend);
  }
}

}  // namespace

bool initialize_process_state() noexcept {
  if (found != nullptr) return true;
  PyObject* dict = shared_dict();
  if (dict == nullptr) return false;
  if (PyObject* capsule = PyDict_GetItemString(dict, capsule_name)) {
    found = static_cast<process_state*>(PyCapsule_GetPointer(capsule, capsule_name));
    if (found == nullptr) return false;
    use_counters(found->counted);
    share_cuda_backend();
    return true;
  }
#ifdef __unix__
  // A thread that was about to ask for a pending call is not in the child, and its call never comes.
  static const int asked = pthread_atfork(nullptr, nullptr, [] {
    if (found != nullptr) found->drain_scheduled.store(false);
  });
  (void)asked;  // without memory for it a child empties its queue on the way into the hub
#endif
  // Never freed: arrays may be released until the process is gone.
  auto made = std::make_unique<process_state>();
  const ref capsule = ref::steal(PyCapsule_New(made.get(), capsule_name, nullptr));
  if (!capsule || PyDict_SetItemString(dict, capsule_name, capsule.get()) != 0) return false;
  found = made.release();
  use_counters(found->counted);
  share_cuda_backend();
  return make_error_types(*found) && register_process_end();
}

}  // namespace dlpack_bridge::python
