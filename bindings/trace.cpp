// trace: records every exchange of a thread or task.

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "report_type.hpp"
#include "reports.hpp"
#include <dlpack_bridge/python/process_state.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

struct record : hub::report {};

// The traces that are active in a thread or task: a tuple in a context variable, so that each
// `with` sees its own context only.
PyObject* active_traces() {
  static PyObject* const variable = PyContextVar_New("dlpack_bridge_traces", nullptr);
  return variable;
}

py::tuple traces_here() {
  PyObject* found = nullptr;
  if (PyContextVar_Get(active_traces(), nullptr, &found) != 0) throw py::error_already_set();
  return found == nullptr ? py::tuple() : py::reinterpret_steal<py::tuple>(found);
}

void set_traces_here(const py::tuple& traces) {
  const hub::ref token = hub::ref::steal(PyContextVar_Set(active_traces(), traces.ptr()));
  if (!token) throw py::error_already_set();
}

struct trace {
  py::list records;
  int open = 0;  // how many `with` of it are
};

py::object enter(const py::object& self) {
  const py::tuple outer = traces_here();
  py::tuple inner(outer.size() + 1);
  for (std::size_t i = 0; i < outer.size(); ++i) inner[i] = outer[i];
  inner[outer.size()] = self;
  set_traces_here(inner);
  ++self.cast<trace&>().open;
  hub::state().active_traces.fetch_add(1);
  return self;
}

// Takes out this one alone: traces may end in another order than they began in.
void leave(const py::object& self, const py::args&) {
  int& open = self.cast<trace&>().open;
  if (open == 0) throw py::value_error("this trace is not active");
  const py::tuple now = traces_here();
  auto place = static_cast<Py_ssize_t>(now.size());
  while (place > 0 && PyTuple_GET_ITEM(now.ptr(), place - 1) != self.ptr()) --place;
  if (place == 0) throw py::value_error("this trace was entered in another thread or task");
  py::tuple rest(now.size() - 1);
  for (std::size_t i = 0; i < rest.size(); ++i) {
    rest[i] = now[i < static_cast<std::size_t>(place - 1) ? i : i + 1];
  }
  set_traces_here(rest);
  --open;
  hub::state().active_traces.fetch_sub(1);
}

std::int64_t copied_bytes(const trace& self) {
  std::int64_t sum = 0;
  for (const py::handle& one : self.records) {
    const auto& r = one.cast<const record&>();
    if (r.action == "copy") sum += r.nbytes;
  }
  return sum;
}

std::string trace_text(const trace& self) {
  std::string text = std::to_string(self.records.size()) + " exchange" +
                     (self.records.size() == 1 ? "" : "s") + ", " +
                     std::to_string(copied_bytes(self)) + " bytes copied";
  for (const py::handle& one : self.records) text += "\n" + text_of(one.cast<const record&>());
  return text;
}

// Both are called by the road for every exchange while any trace is active anywhere.
PyObject* make_record(const hub::exchange_report& e) {
  try {
    return py::cast(record{hub::make_report(e)}).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

void tell_traces(PyObject* made) {
  try {
    const py::tuple traces = traces_here();
    PyObject* const* const first = &PyTuple_GET_ITEM(traces.ptr(), 0);
    for (std::size_t i = 0; i < traces.size(); ++i) {
      const bool told = std::find(first, first + i, first[i]) != first + i;  // entered twice
      if (!told) py::handle(first[i]).cast<trace&>().records.append(py::handle(made));
    }
  } catch (py::error_already_set&) {
    // Out of memory while telling: the exchange itself has happened.
  }
}

// An instance that pybind11's `__new__` makes has no values until `__init__` ran, which a caller of `__new__`
// may leave out. Run here, it does nothing the second time.
PyTypeObject* trace_type = nullptr;
newfunc plain_new = nullptr;

PyObject* new_trace(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  const bool given =
      PyTuple_GET_SIZE(args) != 0 || (keywords != nullptr && PyDict_Size(keywords) != 0);
  if (type == trace_type && given) {  // the `__init__` of a subclass may take some
    PyErr_SetString(PyExc_TypeError, "trace() takes no arguments");
    return nullptr;
  }
  hub::ref made = hub::ref::steal(plain_new(type, args, keywords));
  if (!made) return nullptr;
  const hub::ref done = hub::ref::steal(
      PyObject_CallMethod(reinterpret_cast<PyObject*>(trace_type), "__init__", "O", made.get()));
  return done ? made.release() : nullptr;
}

// `trace.__new__(cls)`, which a subclass with its own `__new__` calls. Without it that is pybind11's.
PyObject* call_new_trace(PyObject*, PyObject* args, PyObject* keywords) {
  PyObject* const type = PyTuple_GET_SIZE(args) == 0 ? nullptr : PyTuple_GET_ITEM(args, 0);
  if (type == nullptr || !PyType_Check(type) ||
      !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type), trace_type)) {
    PyErr_SetString(PyExc_TypeError, "trace.__new__() takes a subclass of trace");
    return nullptr;
  }
  const hub::ref rest = hub::ref::steal(PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args)));
  return rest ? new_trace(reinterpret_cast<PyTypeObject*>(type), rest.get(), keywords) : nullptr;
}

// Into the dict: setting the attribute would put CPython's own dispatch into the type's slot.
void use_new_trace() {
  static PyMethodDef method = {
      "__new__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_new_trace)),
      METH_VARARGS | METH_KEYWORDS, nullptr};
  const hub::ref function = hub::ref::steal(PyCFunction_New(&method, nullptr));
  if (!function || PyDict_SetItemString(trace_type->tp_dict, "__new__", function.get()) != 0) {
    throw py::error_already_set();
  }
  plain_new = std::exchange(trace_type->tp_new, new_trace);
  PyType_Modified(trace_type);
}

}  // namespace

void add_trace(py::module_& m) {
  add_report_type<record>(m, "TraceRecord", "One exchange, as a trace saw it.");
  py::class_<trace> type(m, "trace",
                         "trace()\n--\n\n"
                         "Records every exchange of this thread or task while its `with` is open.");
  refuse_pickling(type);
  type.def(py::init<>(), "__init__(self, /)\n--\n\nDoes nothing: `trace.__new__` has done it.")
      .def_readonly("records", &trace::records, "A record of each exchange, in order.")
      .def_property_readonly("copied_bytes", copied_bytes, "Bytes that these exchanges wrote.")
      .def("__enter__", enter)
      .def("__exit__", leave)
      .def("__str__", trace_text)
      .def("__repr__", [](const trace& self) {
        return "<dlpack_bridge.trace of " + std::to_string(self.records.size()) + " exchanges>";
      });
  trace_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  use_new_trace();
  hub::state().make_record = make_record;
  hub::state().tell_traces = tell_traces;
}

}  // namespace dlpack_bridge::bindings
