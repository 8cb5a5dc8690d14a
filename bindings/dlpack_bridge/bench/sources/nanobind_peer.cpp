// The same functions with nanobind's ndarray.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace nb = nanobind;

namespace {

volatile float seen;

template <class Array>
void look(const Array& x) {
  if (x.size() > 0) seen = *x.data();
}

}  // namespace

NB_MODULE(nanobind_peer, m) {
  m.def("nothing", [](nb::handle) {});
  m.def("take", [](nb::ndarray<const float, nb::ndim<1>, nb::device::cpu> x) { look(x); });
  m.def("take_to_write", [](nb::ndarray<float, nb::ndim<1>, nb::device::cpu> x) { look(x); });
  m.def("take_any_rank", [](nb::ndarray<const float, nb::device::cpu> x) { look(x); });
}
