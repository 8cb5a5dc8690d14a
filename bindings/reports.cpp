#include "reports.hpp"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/inspect.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

py::object owned(hub::ref made) {
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made.release());
}

py::tuple tuple_of(const std::vector<reason>& all) {
  return py::reinterpret_steal<py::tuple>(owned(hub::make_reasons(all)).release());
}

// ---- Plan, and the records of a trace --------------------------------------------------------

std::string first_line(const hub::report& r) {
  std::string line = r.source + " -> " + r.target + ": " + r.action;
  if (r.action == "copy") line += " " + std::to_string(r.nbytes) + " bytes";
  if (r.action != "refuse" && r.readonly) line += ", read-only";
  return line + " (" + r.protocol + ")";
}

std::string text_of(const hub::report& r) {
  std::string text = first_line(r);
  if (!r.summary.empty()) text += "\n  " + r.summary;
  const auto list = [&text](const char* head, const std::vector<reason>& all) {
    for (const reason& one : all) {
      text += std::string("\n  ") + head + " " + to_string(one.code) + ": " + one.message;
    }
  };
  list("because", r.reasons);
  list("blocked by", r.blockers);
  return text;
}

// A plan and a trace record tell the same; they are two types so that their names say what they are.
struct plan : hub::report {};
struct record : hub::report {};

template <class Report>
void add_report_type(py::module_& m, const char* name, const char* doc) {
  py::class_<Report>(m, name, doc)
      .def_property_readonly("action", [](const Report& r) { return r.action; })
      .def_property_readonly("reasons", [](const Report& r) { return tuple_of(r.reasons); })
      .def_property_readonly("blockers", [](const Report& r) { return tuple_of(r.blockers); })
      .def_property_readonly("nbytes", [](const Report& r) { return r.nbytes; })
      .def_property_readonly("readonly", [](const Report& r) { return r.readonly; })
      .def_property_readonly("protocol", [](const Report& r) { return r.protocol; })
      .def_property_readonly("source", [](const Report& r) { return r.source; })
      .def_property_readonly("target", [](const Report& r) { return r.target; })
      .def_property_readonly("waits", [](const Report&) { return py::tuple(); },
                             "Pairs (consumer, producer) of streams that are ordered.")
      .def("__str__", [](const Report& r) { return text_of(r); })
      .def("__repr__", [name = std::string(name)](const Report& r) {
        return "<dlpack_bridge." + name + " " + first_line(r) + ">";
      });
}

plan make_plan(const py::object& x, const py::object& to, const py::kwargs& keywords) {
  std::vector<PyObject*> values;
  py::tuple names(keywords.size());
  py::ssize_t i = 0;
  for (const auto& [name, value] : keywords) {
    names[static_cast<std::size_t>(i++)] = name;
    values.push_back(value.ptr());
  }
  plan made;
  if (!hub::plan_exchange(x.ptr(), to.ptr(), values.data(), names.ptr(), made)) {
    throw py::error_already_set();
  }
  return made;
}

// ---- trace -----------------------------------------------------------------------------------

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
  py::tuple inner(outer.size() + 1);
  for (std::size_t i = 0; i < outer.size(); ++i) inner[i] = outer[i];
  inner[outer.size()] = self;
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

// Called by the road for every exchange while any trace is active anywhere.
void on_exchange(const hub::exchange_report& e) {
  try {
    const py::tuple traces = traces_here();
    if (traces.empty()) return;
    const py::object made = py::cast(record{hub::make_report(e)});
    for (const py::handle& one : traces) one.cast<trace&>().records.append(made);
  } catch (py::error_already_set& error) {
    error.restore();
  }
}

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
  hub::state().on_exchange = on_exchange;
}

// ---- info ------------------------------------------------------------------------------------

struct array_info : hub::array_facts {};

py::tuple ints(const std::vector<extent>& values) {
  py::tuple made(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) made[i] = values[i];
  return made;
}

py::tuple names(const std::vector<std::string>& values) {
  py::tuple made(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) made[i] = values[i];
  return made;
}

array_info make_info(const py::object& x) {
  array_info made;
  if (!hub::inspect(x.ptr(), made)) throw py::error_already_set();
  return made;
}

void add_info(py::module_& m) {
  using info = array_info;
  py::class_<info>(m, "Info", "What the hub sees of an array.")
      .def_property_readonly("framework", [](const info& i) { return i.framework; })
      .def_property_readonly("dtype", [](const info& i) -> py::object {
        return i.dtype ? owned(hub::make_dtype(*i.dtype)) : py::none();
      })
      .def_property_readonly("device", [](const info& i) -> py::object {
        return i.device ? owned(hub::make_device(*i.device)) : py::none();
      })
      .def_property_readonly("shape", [](const info& i) { return ints(i.shape); })
      .def_property_readonly("strides", [](const info& i) -> py::object {
        return i.strides ? py::object(ints(*i.strides)) : py::none();
      })
      .def_property_readonly("readonly", [](const info& i) { return i.readonly; })
      .def_property_readonly("protocols", [](const info& i) { return names(i.protocols); })
      .def_property_readonly("alignment", [](const info& i) { return i.alignment; })
      .def_property_readonly("state", [](const info& i) { return names(i.state); },
                             "Reason codes that hold for it: \"requires_grad\", \"sparse\", ...")
      .def("__str__", [](const info& i) {
        std::string text = i.framework + " array: " + i.summary;
        if (i.readonly) text += ", read-only";
        for (const std::string& code : i.state) text += ", " + code;
        text += "\n  protocols:";
        for (const std::string& p : i.protocols) text += " " + p;
        return text + "\n  alignment: " + std::to_string(i.alignment) + " bytes";
      })
      .def("__repr__",
           [](const info& i) { return "<dlpack_bridge.Info " + i.framework + ": " + i.summary + ">"; });
  m.def("info", make_info, py::arg("x"), py::pos_only(),
        "info(x, /)\n--\n\nWhat the hub sees of x. Errors: NotAnArrayError.");
}

// ---- stats, and releases ---------------------------------------------------------------------

struct stats {
  std::int64_t live_arrays, pending_releases, copies, copied_bytes, leaked;
};

stats make_stats() {
  const counters& c = active_counters();
  return {c.live.load(), c.pending_releases.load(), c.copies.load(), c.copied_bytes.load(),
          c.leaked.load()};
}

std::string stats_text(const stats& s) {
  return "live_arrays=" + std::to_string(s.live_arrays) +
         ", pending_releases=" + std::to_string(s.pending_releases) +
         ", copies=" + std::to_string(s.copies) + ", copied_bytes=" + std::to_string(s.copied_bytes) +
         ", leaked=" + std::to_string(s.leaked);
}

bool shares_memory(const py::object& a, const py::object& b) {
  const std::optional<bool> answer = hub::objects_share_memory(a.ptr(), b.ptr());
  if (!answer) throw py::error_already_set();
  return *answer;
}

void record_stream(const py::object& x, const py::object& stream) {
  const std::optional<bool> on_host = hub::lives_on_host(x.ptr());
  if (!on_host) throw py::error_already_set();
  if (*on_host) {
    throw py::value_error("record_stream is for device memory; work on host memory has no stream");
  }
  requirements read;
  PyObject* value = stream.ptr();
  const py::tuple name = py::make_tuple("stream");
  if (!hub::read_keywords("record_stream", &value, name.ptr(),
                          hub::keyword_set(hub::keyword::stream), read)) {
    throw py::error_already_set();
  }
  hub::raise_no_driver("a use on a stream cannot be recorded without a CUDA driver", {});
  throw py::error_already_set();
}

// Nothing waits for a stream without a CUDA backend: only releases that waited for the GIL are left.
std::int64_t collect(bool) { return hub::drain_late_releases(); }

void add_stats(py::module_& m) {
  py::class_<stats>(m, "Stats", "What the hub counts in this process.")
      .def_readonly("live_arrays", &stats::live_arrays, "Managed tensors not yet released.")
      .def_readonly("pending_releases", &stats::pending_releases, "Dropped, waiting.")
      .def_readonly("copies", &stats::copies, "Copies made so far.")
      .def_readonly("copied_bytes", &stats::copied_bytes, "Bytes written by them.")
      .def_readonly("leaked", &stats::leaked, "Owners given up.")
      .def("__str__", stats_text)
      .def("__repr__", [](const stats& s) { return "<dlpack_bridge.Stats " + stats_text(s) + ">"; });
  m.def("stats", make_stats, "stats()\n--\n\nThe counters of this process.");
  m.def("shares_memory", shares_memory, py::arg("a"), py::arg("b"), py::pos_only(),
        "shares_memory(a, b, /)\n--\n\nWhether two arrays have a byte in common. Errors: NotAnArrayError, ExchangeError, "
        "ValueError when a bounded search cannot tell.");
  m.def("record_stream", record_stream, py::arg("x"), py::arg("stream"),
        "record_stream(x, stream)\n--\n\nDeclares a use of x on a stream that the hub cannot see. Errors: ValueError for host "
        "memory, CudaError.");
  m.def("collect", collect, py::arg("wait") = false,
        "collect(wait=False)\n--\n\nRuns releases that are due; returns how many owners it released.");
  m.def("_is_array", [](const py::object& x) { return hub::is_array(x.ptr()); });
}

}  // namespace

void add_reports(py::module_& m) {
  py::options signatures;  // the docstrings carry their own, which inspect can read
  signatures.disable_function_signatures();
  add_report_type<plan>(m, "Plan", "What convert would do, and why.");
  m.def("plan", make_plan, py::arg("x"), py::arg("to"), py::pos_only(),
        "plan(x, to, /, *, dtype=None, device=None, copy=None, detach=False, readonly=\"copy\", "
        "order=None, alignment=None, stream=None)\n--\n\n"
        "What convert(x, to, ...) would do and why; does nothing and raises for no refusal.\n\n"
        "Errors: TypeError, ImportError, ValueError.");
  add_trace(m);
  add_info(m);
  add_stats(m);
}

}  // namespace dlpack_bridge::bindings
