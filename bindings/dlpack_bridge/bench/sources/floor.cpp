// What torch itself takes for the single steps of an exchange, without a Python call in between: (tensor,
// number of calls) -> seconds. And its part of calls from Python: of a C++ function's, (tensor) -> None;
// of an exchange that ends in torch, (object) -> tensor.

#include <chrono>
#include <cstdint>
#include <cstdlib>

#include <dlpack/dlpack.h>
#include <pybind11/pybind11.h>

#include <dlpack_bridge/python/torch_functions.hpp>

namespace py = pybind11;

namespace {

template <class Step>
double seconds_of(long calls, Step step) {
  const auto start = std::chrono::steady_clock::now();
  for (long i = 0; i < calls; ++i) step();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const DLPackExchangeAPI& table_of(py::handle tensor) {
  const py::object capsule = py::type::of(tensor).attr("__dlpack_c_exchange_api__");
  void* table = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
  if (table == nullptr) throw py::error_already_set();
  return *static_cast<const DLPackExchangeAPI*>(table);
}

void require(int error) {
  if (error != 0) throw py::error_already_set();
}

/// libtorch's own functions, as the hub finds them.
dlpack_bridge::python::torch_functions functions_of(py::handle tensor) {
  const py::module_ torch = py::module_::import("torch");
  auto* type = reinterpret_cast<PyTypeObject*>(torch.attr("Tensor").ptr());
  dlpack_bridge::python::torch_functions found;
  found.load(torch.attr("_C").ptr());
  if (!found.prove(torch.ptr(), type) || !PyObject_TypeCheck(tensor.ptr(), type)) {
    throw py::type_error("torch's compiled functions cannot be asked");
  }
  return found;
}

double export_and_delete(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  return seconds_of(calls, [&] {
    DLManagedTensorVersioned* exported = nullptr;
    require(table.managed_tensor_from_py_object_no_sync(tensor.ptr(), &exported));
    exported->deleter(exported);
  });
}

double borrow(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  return seconds_of(calls, [&] {
    DLTensor borrowed;
    require(table.dltensor_from_py_object_no_sync(tensor.ptr(), &borrowed));
  });
}

// The answers go somewhere that the compiler cannot leave out.
volatile bool answer;

double requires_grad(py::handle tensor, long calls) {
  const auto torch = functions_of(tensor);
  return seconds_of(calls, [&] { answer = torch.requires_grad(tensor.ptr()); });
}

double is_neg(py::handle tensor, long calls) {
  const auto torch = functions_of(tensor);
  return seconds_of(calls, [&] { answer = torch.is_neg(tensor.ptr()); });
}

double is_conj(py::handle tensor, long calls) {
  const auto torch = functions_of(tensor);
  return seconds_of(calls, [&] { answer = torch.is_conj(tensor.ptr()); });
}

/// What a real tensor must be asked before its memory may be used, and the borrowed view: for a call
/// from Python.
void state_checks(py::handle tensor) {
  static const DLPackExchangeAPI& table = table_of(tensor);
  static const auto torch = functions_of(tensor);
  DLTensor borrowed;
  require(table.dltensor_from_py_object_no_sync(tensor.ptr(), &borrowed));
  answer = torch.requires_grad(tensor.ptr());
  answer = torch.is_neg(tensor.ptr());
}

struct handed_out {
  DLManagedTensorVersioned tensor;
  std::int64_t shape[2];
};

/// torch gives the GIL away while it drops a tensor, and a Python object is let go with it.
void let_go(DLManagedTensorVersioned* self) {
  const PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF(static_cast<PyObject*>(self->manager_ctx));
  PyGILState_Release(state);
  std::free(self);
}

/// Null with an error set where torch has no table.
const DLPackExchangeAPI* table_of_torch() noexcept {
  try {
    static const DLPackExchangeAPI& table =
        table_of(py::module_::import("torch").attr("zeros")(py::make_tuple()));
    return &table;
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

/// A tensor that keeps an object alive, over memory that is none of the object's: nothing is looked at.
/// Without strides, which DLPack before 1.2 allows for dense rows and torch is quicker with.
PyObject* adopt(PyObject*, PyObject* object) {
  const DLPackExchangeAPI* const table = table_of_torch();
  if (table == nullptr) return nullptr;
  static float zeros[12];
  auto* made = static_cast<handed_out*>(std::malloc(sizeof(handed_out)));
  if (made == nullptr) return PyErr_NoMemory();
  *made = {{}, {3, 4}};
  made->tensor.version = {1, 1};
  made->tensor.manager_ctx = Py_NewRef(object);
  made->tensor.deleter = let_go;
  made->tensor.dl_tensor = {zeros, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, made->shape, nullptr, 0};
  void* tensor = nullptr;
  if (table->managed_tensor_to_py_object_no_sync(&made->tensor, &tensor) == 0) {
    return static_cast<PyObject*>(tensor);
  }
  let_go(&made->tensor);
  return nullptr;
}

PyMethodDef plain_functions[] = {{"adopt", adopt, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};

}  // namespace

PYBIND11_MODULE(floor, m) {
  m.def("export_and_delete", export_and_delete);
  m.def("borrow", borrow);
  m.def("requires_grad", requires_grad);
  m.def("is_neg", is_neg);
  m.def("is_conj", is_conj);
  m.def("state_checks", state_checks);
  if (PyModule_AddFunctions(m.ptr(), plain_functions) != 0) throw py::error_already_set();
}
