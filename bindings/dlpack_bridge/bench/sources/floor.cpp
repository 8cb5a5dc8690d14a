// What torch itself takes for the single steps of an exchange, called through C without a Python call
// in between: (tensor, number of calls) -> seconds.

#include <chrono>

#include <dlpack/dlpack.h>
#include <pybind11/pybind11.h>

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

/// A getter or a method without arguments, by the C pointer behind its descriptor.
class member {
 public:
  member(py::handle object, const char* name) : object_(object.ptr()) {
    const py::object found = py::type::of(object).attr(name);
    if (Py_TYPE(found.ptr()) == &PyGetSetDescr_Type) {
      property_ = reinterpret_cast<PyGetSetDescrObject*>(found.ptr())->d_getset;
    } else if (Py_TYPE(found.ptr()) == &PyMethodDescr_Type) {
      method_ = reinterpret_cast<PyMethodDescrObject*>(found.ptr())->d_method;
    }
    const bool takes_nothing = method_ != nullptr && (method_->ml_flags & METH_NOARGS) != 0;
    if (property_ == nullptr && !takes_nothing) throw py::type_error("no plain member");
  }

  void operator()() const {
    PyObject* answer = property_ != nullptr ? property_->get(object_, property_->closure)
                                            : method_->ml_meth(object_, nullptr);
    if (answer == nullptr) throw py::error_already_set();
    Py_DECREF(answer);
  }

 private:
  PyObject* object_;
  const PyGetSetDef* property_ = nullptr;
  const PyMethodDef* method_ = nullptr;
};

double export_and_delete(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  return seconds_of(calls, [&] {
    DLManagedTensorVersioned* exported = nullptr;
    require(table.managed_tensor_from_py_object_no_sync(tensor.ptr(), &exported));
    exported->deleter(exported);
  });
}

double export_and_import(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  return seconds_of(calls, [&] {
    DLManagedTensorVersioned* exported = nullptr;
    void* imported = nullptr;
    require(table.managed_tensor_from_py_object_no_sync(tensor.ptr(), &exported));
    require(table.managed_tensor_to_py_object_no_sync(exported, &imported));
    Py_DECREF(static_cast<PyObject*>(imported));
  });
}

double borrow(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  return seconds_of(calls, [&] {
    DLTensor borrowed;
    require(table.dltensor_from_py_object_no_sync(tensor.ptr(), &borrowed));
  });
}

double look(py::handle tensor, const char* name, long calls) {
  return seconds_of(calls, member(tensor, name));
}

/// What a real tensor must be asked before its memory may be used, and the borrowed view.
double checks(py::handle tensor, long calls) {
  const DLPackExchangeAPI& table = table_of(tensor);
  const member requires_grad(tensor, "requires_grad");
  const member is_neg(tensor, "is_neg");
  return seconds_of(calls, [&] {
    DLTensor borrowed;
    require(table.dltensor_from_py_object_no_sync(tensor.ptr(), &borrowed));
    requires_grad();
    is_neg();
  });
}

}  // namespace

PYBIND11_MODULE(floor, m) {
  m.def("export_and_delete", export_and_delete);
  m.def("export_and_import", export_and_import);
  m.def("borrow", borrow);
  m.def("look", look);
  m.def("checks", checks);
}
