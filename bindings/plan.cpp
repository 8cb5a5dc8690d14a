// plan, and what plans and trace records have in common.

#include <string>
#include <vector>

#include "report_type.hpp"
#include "reports.hpp"
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/errors.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

struct plan : hub::report {};

// Keywords in the form of a vectorcall.
struct keyword_values {
  explicit keyword_values(const py::kwargs& keywords) : names(keywords.size()) {
    std::size_t i = 0;
    for (const auto& [name, value] : keywords) {
      names[i++] = name;
      values.push_back(value.ptr());
    }
  }
  py::tuple names;
  std::vector<PyObject*> values;
};

plan make_plan(const py::object& x, const py::object& to, const py::kwargs& keywords) {
  const keyword_values given(keywords);
  plan made;
  if (!hub::plan_exchange(x.ptr(), to.ptr(), given.values.data(), given.names.ptr(), made)) {
    throw py::error_already_set();
  }
  return made;
}

}  // namespace

py::tuple tuple_of(const std::vector<reason>& all) {
  hub::ref made = hub::make_reasons(all);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::tuple>(made.release());
}

py::tuple waits_tuple(const std::vector<stream_wait>& waits) {
  py::tuple made(waits.size());
  const auto shown = [](stream_handle stream, const char* otherwise) -> py::object {
    return stream.known() ? py::object(py::int_(stream.protocol())) : py::str(otherwise);
  };
  for (std::size_t i = 0; i < waits.size(); ++i) {
    made[i] = py::make_tuple(shown(waits[i].consumer, "own"), shown(waits[i].producer, "unknown"));
  }
  return made;
}

std::string first_line(const hub::report& r) {
  std::string line = r.source + " -> " + r.target + ": " + r.action;
  if (r.action == "copy") line += " " + std::to_string(r.nbytes) + " bytes";
  if (r.action != "refuse" && r.readonly) line += ", read-only";
  return line + " (" + r.protocol + ")";
}

std::string stream_name(stream_handle stream, const char* otherwise) {
  return stream.known() ? stream.name() : otherwise;
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
  for (const stream_wait& wait : r.waits) {
    text += "\n  " + stream_name(wait.consumer, "the hub's own stream") + " waits for " +
            stream_name(wait.producer, "the producer, who alone knows its stream");
  }
  return text;
}

void add_plan(py::module_& m) {
  add_report_type<plan>(m, "Plan", "What convert would do, and why.");
  m.def("plan", make_plan, py::arg("x"), py::arg("to"), py::pos_only(),
        "plan(x, to, /, *, dtype=None, device=None, copy=None, detach=False, readonly=\"copy\", "
        "order=None, alignment=None, stream=None)\n--\n\n"
        "What convert(x, to, ...) would do and why; does nothing and raises for no refusal.\n\n"
        "Errors: TypeError, ImportError, ValueError.");
}

}  // namespace dlpack_bridge::bindings
