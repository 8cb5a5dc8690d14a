// Functions that return arrays of every kind.

#include <complex>
#include <cstdint>
#include <memory>
#include <numeric>
#include <tuple>

#include <pybind11/stl.h>

#include "caster_lab.hpp"
#include <dlpack_bridge/adapters/pybind11.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

int released = 0;  // arrays whose owner has been dropped

std::vector<float> counted(std::size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

// A table that hands out its own memory.
struct table {
  std::vector<double> cells = std::vector<double>(6, 1.0);
  ~table() { ++released; }
};

managed_tensor with_counted_owner(dtype type, device where, stream_handle stream = {}) {
  static double memory[8] = {1, 2, 3, 4};
  managed_tensor t = share(memory, {4}, {}, type, [] { ++released; }, where);
  t.set_stream(stream);
  return t;
}

}  // namespace

void caster_lab::add_results(py::module_& m) {
  m.def("released", [] { return std::exchange(released, 0); });
  m.def("make", [](std::size_t size) { return share(counted(size)); });
  m.def("make_address", [](std::size_t size) {
    std::vector<float> values = counted(size);
    const auto address = reinterpret_cast<std::uintptr_t>(values.data());
    return std::tuple(share(std::move(values)), address);
  });
  m.def("make_matrix", [] { return share(counted(6), {2, 3}); });
  m.def("make_array", [] { return array<float, 2>(share(counted(6), {2, 3})); });
  m.def("make_const", [] { return array<const float>(share(counted(3))); });
  m.def("make_complex", [] { return share(std::vector<std::complex<float>>{{1, 2}}); });
  m.def("make_half", [] { return share(std::vector<float16_t>{float16_t(1.5F)}); });
  m.def("make_bfloat", [] { return share(std::vector<bfloat16_t>{bfloat16_t(1.5F)}); });
  m.def("make_empty", [] { return share(std::vector<float>()); });
  m.def("make_scalar", [] { return share(counted(1), extent_list(std::span<const extent>())); });
  m.def("make_owned", [] { return with_counted_owner(float64, {}); });
  m.def(
      "make_without_gil", [] { return share(counted(3)); },
      py::call_guard<py::gil_scoped_release>());
  m.def("make_many", [] {
    std::vector<managed_tensor> all;
    for (std::size_t i = 1; i < 4; ++i) all.push_back(share(counted(i)));
    return all;
  });
  m.def(
      "make_on",
      [](int type, int id, std::optional<std::intptr_t> stream) {
        stream_handle ordered;
        if (stream) ordered = stream_handle::from_native(reinterpret_cast<const void*>(*stream));
        return with_counted_owner(float64, device(static_cast<DLDeviceType>(type), id), ordered);
      },
      py::arg("type"), py::arg("id") = 0, py::arg("stream") = py::none());
  m.def("make_refused", [] { return as_numpy(with_counted_owner(float64, device(kDLVPI))); });

  m.def("make_numpy", [] { return as_numpy(counted(3)); });
  m.def("make_torch", [] { return as_torch(counted(3)); });
  m.def("make_hub", [] { return as_array(counted(3)); });
  m.def("relu", [](array<const float> x) {
    std::vector<float> result(x.begin(), x.end());
    for (float& value : result) value = std::max(value, 0.0F);
    return like(x, std::move(result));
  });
  m.def("same", [](array<const float> x) { return like(x, x); });
  m.def("back", [](array<const float> x) { return x; });
  m.def("back_to_write", [](array<float> x) { return x; });

  py::class_<table, std::shared_ptr<table>>(m, "Table")
      .def(py::init<>())
      .def("cells", [](std::shared_ptr<table> t) {
        double* cells = t->cells.data();
        return share(cells, {2, 3}, {}, float64, std::move(t));
      });
}
