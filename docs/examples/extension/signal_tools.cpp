// A pybind11 extension whose functions take arrays of NumPy, torch, JAX, ... and give them back.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/adapters/pybind11.hpp>

namespace py = pybind11;
using dlpack_bridge::array;
using dlpack_bridge::c_contiguous;
using dlpack_bridge::converting;
using dlpack_bridge::dynamic;
using dlpack_bridge::managed_tensor;
using dlpack_bridge::share;

namespace {

// In place: the caller's own memory. Another element type, a read-only array or another layout is a
// TypeError that says so; nothing is ever converted behind the caller's back.
void scale(array<float, 2, c_contiguous> x, float factor) {
  for (float& value : x.span()) value *= factor;
}

// Const elements: read-only arrays are welcome, and so is any layout. One overload per element type.
template <class T>
double mean(array<const T> x) {
  double sum = 0;
  for (const T value : x) sum += static_cast<double>(value);
  return sum / static_cast<double>(x.size());
}

// `converting` states in the type that a copy is fine where the array does not fit.
double norm(array<const double, dynamic, converting> x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

// torch in, torch out; NumPy in, NumPy out.
auto relu(array<const float> x) {
  std::vector<float> result(x.begin(), x.end());
  for (float& value : result) value = std::max(value, 0.0F);
  return like(x, share(std::move(result), x.shape()));
}

// A moved vector becomes a NumPy array without a copy, and dies with it.
managed_tensor window(std::size_t size) {
  constexpr double pi = 3.14159265358979323846;
  std::vector<double> values(size);
  for (std::size_t i = 0; i < size; ++i) {
    values[i] = 0.5 - 0.5 * std::cos(2 * pi * static_cast<double>(i) / static_cast<double>(size));
  }
  return share(std::move(values));
}

// An object that hands out its own memory: it lives as long as any of its arrays.
class recorder {
 public:
  explicit recorder(std::size_t rows) : samples_(3 * rows) {}
  double* data() { return samples_.data(); }
  std::size_t rows() const { return samples_.size() / 3; }

 private:
  std::vector<double> samples_;
};

managed_tensor samples(std::shared_ptr<recorder> r) {
  return share(r->data(), {r->rows(), 3}, {}, dlpack_bridge::float64, r);
}

}  // namespace

PYBIND11_MODULE(signal_tools, m) {
  const py::call_guard<py::gil_scoped_release> without_gil;
  m.def("scale", scale, py::arg("x"), py::arg("factor"), without_gil);
  m.def("mean", mean<float>, py::arg("x"), without_gil);
  m.def("mean", mean<double>, py::arg("x"), without_gil);
  m.def("norm", norm, py::arg("x"), without_gil);
  m.def("relu", relu, py::arg("x"));
  m.def("window", window, py::arg("size"));
  py::class_<recorder, std::shared_ptr<recorder>>(m, "Recorder")
      .def(py::init<std::size_t>(), py::arg("rows"))
      .def("samples", samples);
}
