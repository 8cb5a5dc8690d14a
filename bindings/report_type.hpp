#pragma once

#include <string>
#include <vector>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/python/entry.hpp>

namespace dlpack_bridge::bindings {

/// The Python tuple of `Reason` objects.
pybind11::tuple tuple_of(const std::vector<reason>& all);

/// The Python tuple of pairs of streams.
pybind11::tuple waits_tuple(const std::vector<stream_wait>& waits);

/// "numpy -> torch: copy 72 bytes (numpy)".
std::string first_line(const python::report& r);

/// The first line, the source, and each reason and blocker: a few lines a person reads.
std::string text_of(const python::report& r);

/// Makes pickling a TypeError, which pybind11 leaves to chance.
template <class Class>
void refuse_pickling(Class& type) {
  type.def("__reduce__", [](const pybind11::object& self) -> pybind11::object {
    throw pybind11::type_error("cannot pickle '" + std::string(Py_TYPE(self.ptr())->tp_name) +
                               "' object; pickle str() of it");
  });
}

/// Makes instances of a report's type the hub's affair: without a C++ object behind it an instance has
/// no values, and pickling would make such ones. Reports do not change, so a copy is the report itself.
template <class Class>
void only_made_here(Class& type) {
  reinterpret_cast<PyTypeObject*>(type.ptr())->tp_new = nullptr;
  const auto itself = [](const pybind11::object& self, const pybind11::args&) { return self; };
  type.def("__copy__", itself).def("__deepcopy__", itself);
  refuse_pickling(type);
}

/// Makes the Python type of a report. A plan and a trace record tell the same; they are two types so
/// that their names say what they are.
template <class Report>
void add_report_type(pybind11::module_& m, const char* name, const char* doc) {
  pybind11::class_<Report> type(m, name, doc);
  only_made_here(type);
  type.def_property_readonly(
          "action", [](const Report& r) { return r.action; }, "\"share\", \"copy\" or \"refuse\".")
      .def_property_readonly(
          "reasons", [](const Report& r) { return tuple_of(r.reasons); },
          "Why it is copied: a tuple of Reason, all of them.")
      .def_property_readonly(
          "blockers", [](const Report& r) { return tuple_of(r.blockers); },
          "Why it is refused: a tuple of Reason, all of them.")
      .def_property_readonly(
          "nbytes", [](const Report& r) { return r.nbytes; },
          "Bytes of the result that are written; 0 for a share.")
      .def_property_readonly(
          "readonly", [](const Report& r) { return r.readonly; },
          "Whether the result cannot be written.")
      .def_property_readonly(
          "protocol", [](const Report& r) { return r.protocol; }, "How the source is read.")
      .def_property_readonly(
          "source", [](const Report& r) { return r.source; }, "The framework of the source.")
      .def_property_readonly(
          "target", [](const Report& r) { return r.target; }, "The framework of the result.")
      .def_property_readonly(
          "waits", [](const Report& r) { return waits_tuple(r.waits); },
          "Pairs (consumer, producer) of streams that are ordered: protocol numbers, \"own\" for the "
          "hub's own stream, \"unknown\" for a producer that alone knows its stream.")
      .def("__str__", [](const Report& r) { return text_of(r); })
      .def("__repr__", [name = std::string(name)](const Report& r) {
        return "<dlpack_bridge." + name + " " + first_line(r) + ">";
      });
}

}  // namespace dlpack_bridge::bindings
