// What a torch extension does with the adapter, as functions for the tests.
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <torch/csrc/autograd/python_variable.h>

#include <dlpack_bridge/adapters/torch.hpp>
#include <dlpack_bridge/dlpack_bridge.hpp>

namespace {

using namespace dlpack_bridge;

constexpr const char* held_name = "torch_extension.held";

// The message is that of the exception; its codes and words come as a list of pairs.
PyObject* raise_refusal(const exchange_error& error) {
  PyObject* blockers = PyList_New(0);
  for (const reason& blocker : error.blockers()) {
    PyObject* pair = Py_BuildValue("(ss)", to_string(blocker.code), blocker.message.c_str());
    PyList_Append(blockers, pair);
    Py_DECREF(pair);
  }
  PyObject* arguments = Py_BuildValue("(sN)", error.what(), blockers);
  PyErr_SetObject(PyExc_ValueError, arguments);
  Py_DECREF(arguments);
  return nullptr;
}

template <class Body>
PyObject* guarded(const Body& body) {
  try {
    return body();
  } catch (const exchange_error& error) {
    return raise_refusal(error);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

// (tensor, may copy, detach)
struct call {
  at::Tensor tensor;
  requirements wanted;
};

bool read(PyObject* arguments, call& out) {
  PyObject* tensor = nullptr;
  int may_copy = 1, detach = 0;
  if (!PyArg_ParseTuple(arguments, "O|pp", &tensor, &may_copy, &detach)) return false;
  if (!THPVariable_Check(tensor)) {
    PyErr_SetString(PyExc_TypeError, "a torch.Tensor is needed");
    return false;
  }
  out.tensor = THPVariable_Unpack(tensor);
  out.wanted.copy = may_copy != 0 ? copy_policy::if_needed : copy_policy::never;
  out.wanted.detach = detach != 0;
  return true;
}

void drop_held(PyObject* capsule) {
  delete static_cast<managed_tensor*>(PyCapsule_GetPointer(capsule, held_name));
}

// Takes the tensor out and keeps the array: (address, is a copy, read-only, capsule).
PyObject* hold(PyObject*, PyObject* arguments) {
  call given;
  if (!read(arguments, given)) return nullptr;
  return guarded([&] {
    auto array =
        std::make_unique<managed_tensor>(from_torch(std::move(given.tensor), given.wanted));
    void* const data = array->view().data();
    const int copied = array->is_copied(), read_only = array->read_only();
    PyObject* held = PyCapsule_New(array.release(), held_name, drop_held);
    return Py_BuildValue("NNNN", PyLong_FromVoidPtr(data), PyBool_FromLong(copied),
                         PyBool_FromLong(read_only), held);
  });
}

// Out of torch and in again.
PyObject* round_trip(PyObject*, PyObject* arguments) {
  call given;
  if (!read(arguments, given)) return nullptr;
  return guarded([&] {
    return THPVariable_Wrap(to_torch(from_torch(std::move(given.tensor), given.wanted)));
  });
}

// The same on threads that do not hold the GIL; the last reference may be theirs.
PyObject* pass_through_threads(PyObject*, PyObject* arguments) {
  call given;
  if (!read(arguments, given)) return nullptr;
  return guarded([&] {
    PyThreadState* const saved = PyEval_SaveThread();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([tensor = given.tensor] {
        for (int round = 0; round < 200; ++round) (void)to_torch(from_torch(tensor));
      });
    }
    for (std::thread& thread : threads) thread.join();
    managed_tensor last = from_torch(std::move(given.tensor));
    std::thread([last = std::move(last)]() mutable { last.reset(); }).join();
    PyEval_RestoreThread(saved);
    Py_RETURN_NONE;
  });
}

// Memory of C++ as a tensor.
PyObject* count_up(PyObject*, PyObject* size) {
  const long long n = PyLong_AsLongLong(size);
  if (n < 0) return nullptr;
  return guarded([&] {
    std::vector<double> values(static_cast<std::size_t>(n));
    for (long long i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = static_cast<double>(i);
    return THPVariable_Wrap(to_torch(share(std::move(values))));
  });
}

PyObject* live(PyObject*, PyObject*) { return PyLong_FromLongLong(live_managed_tensors()); }

PyMethodDef methods[] = {{"hold", hold, METH_VARARGS, nullptr},
                         {"round_trip", round_trip, METH_VARARGS, nullptr},
                         {"pass_through_threads", pass_through_threads, METH_VARARGS, nullptr},
                         {"count_up", count_up, METH_O, nullptr},
                         {"live", live, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "torch_extension",
                          nullptr,
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_torch_extension() { return PyModule_Create(&definition); }
