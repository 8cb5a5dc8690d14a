// trace: records every exchange of a thread or task.

#include <cstdint>
#include <string>
#include <vector>

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

struct trace {
  py::list records;
  std::vector<py::object> tokens;  // one per `with` that is open
};

py::object enter(const py::object& self) {
  py::tuple outer = traces_here();
  const bool already = outer.contains(self);  // a `with` inside its own `with`
  py::tuple inner(outer.size() + (already ? 0 : 1));
  for (std::size_t i = 0; i < outer.size(); ++i) inner[i] = outer[i];
  if (!already) inner[outer.size()] = self;
  self.cast<trace&>().tokens.push_back(
      py::reinterpret_steal<py::object>(PyContextVar_Set(active_traces(), inner.ptr())));
  hub::state().active_traces.fetch_add(1);
  return self;
}

void leave(trace& self, const py::args&) {
  if (self.tokens.empty()) throw py::value_error("this trace is not active");
  const py::object token = std::move(self.tokens.back());
  self.tokens.pop_back();
  hub::state().active_traces.fetch_sub(1);
  if (PyContextVar_Reset(active_traces(), token.ptr()) != 0) throw py::error_already_set();
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
    for (const py::handle& one : traces_here()) one.cast<trace&>().records.append(py::handle(made));
  } catch (py::error_already_set&) {
    // Out of memory while telling: the exchange itself has happened.
  }
}

}  // namespace

void add_trace(py::module_& m) {
  add_report_type<record>(m, "TraceRecord", "One exchange, as a trace saw it.");
  py::class_<trace>(m, "trace",
                    "Records every exchange of this thread or task while its `with` is open.")
      .def(py::init<>())
      .def_readonly("records", &trace::records)
      .def_property_readonly("copied_bytes", copied_bytes)
      .def("__enter__", enter)
      .def("__exit__", leave)
      .def("__str__", trace_text)
      .def("__repr__", [](const trace& self) {
        return "<dlpack_bridge.trace of " + std::to_string(self.records.size()) + " exchanges>";
      });
  hub::state().make_record = make_record;
  hub::state().tell_traces = tell_traces;
}

}  // namespace dlpack_bridge::bindings
