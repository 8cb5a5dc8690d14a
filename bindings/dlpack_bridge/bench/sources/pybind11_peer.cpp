// The same functions with pybind11's own array type.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace {

volatile float seen;

void take(py::array_t<float> x) {
  if (x.ndim() != 1) throw py::value_error("one axis expected");
  if (x.size() > 0) seen = *x.data();
}

}  // namespace

PYBIND11_MODULE(pybind11_peer, m) {
  m.def("nothing", [](py::handle) {});
  m.def("take", take);
}
