// Functions with array arguments through this library's casters, and its copy engine with the
// destination as an argument.

#include <array>
#include <cstdint>
#include <optional>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/adapters/pybind11.hpp>
#include <dlpack_bridge/copy.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

volatile float seen;

template <class Array>
void look(const Array& x) {
  if (x.size() > 0) seen = *x.data();
}

void add_functions(py::module_& m) {
  m.def("nothing", [](py::handle) {});
  m.def("take", [](const array<const float, 1>& x) { look(x); });
  m.def("take_to_write", [](const array<float, 1>& x) { look(x); });
  m.def("take_any_rank", [](const array<const float>& x) { look(x); });
}

/// From a few kilobytes on, as where the library itself copies for Python.
class without_gil {
 public:
  explicit without_gil(const tensor_view& to) {
    if (to.nbytes() >= 4096) released_.emplace();
  }

 private:
  std::optional<py::gil_scoped_release> released_;
};

template <class From, class To>
void add_copy(py::module_& m, const char* name) {
  m.def(name, [](const array<To>& to, const array<const From>& from) {
    const without_gil released(to.view());
    copy(from.view(), to.view());
  });
}

// `from` is what NumPy calls >f4, handed over as the bits that it is.
void copy_swapped(const array<float, 1>& to, const array<const std::uint32_t, 1>& from) {
  const without_gil released(to.view());
  const std::array<extent, 1> shape = {from.shape(0)};
  const std::array<extent, 1> steps = {from.stride(0) * 4};
  const std::array<extent, 1> to_steps = {to.stride(0) * 4};
  copy(shape.data(), 1, {const_cast<std::uint32_t*>(from.data()), steps.data(), float32},
       {to.data(), to_steps.data(), float32}, {.swap_bytes = true});
}

void add_copies(py::module_& m) {
  add_copy<float, float>(m, "copy");
  add_copy<std::uint8_t, std::uint8_t>(m, "copy_uint8");
  add_copy<float, double>(m, "copy_to_double");
  add_copy<double, float>(m, "copy_from_double");
  add_copy<float, float16_t>(m, "copy_to_half");
  add_copy<float16_t, float>(m, "copy_from_half");
  add_copy<float, bfloat16_t>(m, "copy_to_bfloat");
  add_copy<bfloat16_t, float>(m, "copy_from_bfloat");
  add_copy<std::int32_t, float>(m, "copy_from_int");
  add_copy<std::uint8_t, float>(m, "copy_from_uint8");
  m.def("copy_swapped", copy_swapped);
}

}  // namespace

PYBIND11_MODULE(own, m) {
  add_functions(m);
  add_copies(m);
}
