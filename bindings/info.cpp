// info: what the hub sees of an array.

#include <string>
#include <vector>

#include "report_type.hpp"
#include "reports.hpp"
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/inspect.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

namespace dlpack_bridge::bindings {
namespace {

py::object owned(hub::ref made) {
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made.release());
}

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

}  // namespace

void add_info(py::module_& m) {
  using info = array_info;
  py::class_<info> type(m, "Info", "What the hub sees of an array.");
  only_made_here(type);
  type.def_property_readonly(
          "framework", [](const info& i) { return i.framework; },
          "Its name; \"other\" for what is known by its protocol only.")
      .def_property_readonly(
          "dtype",
          [](const info& i) -> py::object {
            return i.dtype ? owned(hub::make_dtype(*i.dtype)) : py::none();
          },
          "Element type, a dlpack_bridge.dtype; None where it is not known.")
      .def_property_readonly(
          "device",
          [](const info& i) -> py::object {
            return i.device ? owned(hub::make_device(*i.device)) : py::none();
          },
          "Where it lives; None where that is not known.")
      .def_property_readonly(
          "shape", [](const info& i) { return ints(i.shape); }, "Extents, a tuple of ints.")
      .def_property_readonly(
          "strides",
          [](const info& i) -> py::object {
            return i.strides ? py::object(ints(*i.strides)) : py::none();
          },
          "Strides in elements, a tuple of ints; None where they are not known.")
      .def_property_readonly(
          "readonly", [](const info& i) { return i.readonly; },
          "Whether a shared result could not be written.")
      .def_property_readonly(
          "protocols", [](const info& i) { return names(i.protocols); },
          "The protocols that the object speaks.")
      .def_property_readonly(
          "alignment", [](const info& i) { return i.alignment; },
          "The largest power of two that divides the address.")
      .def_property_readonly(
          "state", [](const info& i) { return names(i.state); },
          "Reason codes that hold for it: \"requires_grad\", \"sparse\", ...")
      .def("__str__",
           [](const info& i) {
             std::string text = i.framework + " array: " + i.summary;
             if (i.readonly) text += ", read-only";
             for (const std::string& code : i.state) text += ", " + code;
             text += "\n  protocols:";
             for (const std::string& p : i.protocols) text += " " + p;
             return text + "\n  alignment: " + std::to_string(i.alignment) + " bytes";
           })
      .def("__repr__", [](const info& i) {
        return "<dlpack_bridge.Info " + i.framework + ": " + i.summary + ">";
      });
  m.def("info", make_info, py::arg("x"), py::pos_only(),
        "info(x, /)\n--\n\nWhat the hub sees of x. Errors: NotAnArrayError.");
}

}  // namespace dlpack_bridge::bindings
