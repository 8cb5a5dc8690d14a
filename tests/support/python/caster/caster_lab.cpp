// Functions with array parameters of every kind, as an extension's author writes them.

#include <complex>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <variant>

#include <pybind11/complex.h>
#include <pybind11/stl.h>

#include "caster_lab.hpp"
#include <dlpack_bridge/adapters/pybind11.hpp>
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/exchange.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

// What a function saw: its address, shape, strides.
template <class Array>
py::dict facts(const Array& x) {
  py::dict seen;
  seen["address"] = reinterpret_cast<std::uintptr_t>(x.data());
  seen["shape"] = py::tuple(py::cast(std::vector<extent>(x.shape().begin(), x.shape().end())));
  seen["strides"] =
      py::tuple(py::cast(std::vector<extent>(x.strides().begin(), x.strides().end())));
  seen["device"] = x.device().name();
  seen["stream"] = reinterpret_cast<std::uintptr_t>(x.stream());
  return seen;
}

template <class T>
double sum(const array<const T>& x) {
  double total = 0;
  for (const T& value : x) total += static_cast<double>(value);
  return total;
}

void scale(array<float> x, float factor) {
  for (float& value : x) value *= factor;
}

// Kept beyond the call.
std::vector<array<const float>> kept;
std::mutex lock_of_kept;

void add_arguments(py::module_& m) {
  m.def("scale", scale, py::arg("x"), py::arg("factor"));
  m.def("sum", sum<float>);
  m.def("sum_double", sum<double>);
  m.def("sum_bool", sum<bool>);
  m.def("sum_uint8", sum<std::uint8_t>);
  m.def("sum_int64", sum<std::int64_t>);
  m.def("sum_half", sum<float16_t>);
  m.def("sum_bfloat", sum<bfloat16_t>);
  m.def("sum_complex", [](array<const std::complex<double>> x) {
    return std::accumulate(x.begin(), x.end(), std::complex<double>());
  });
  m.def("look", [](array<const float> x) { return facts(x); });
  m.def("look_to_write", [](array<float> x) { return facts(x); }, py::arg("x"));
  m.def("look_anywhere", [](array<const float, dynamic, on_any> x) { return facts(x); });
  m.def("matrix", [](array<const float, 2> x) { return facts(x); }, py::arg("x"));
  m.def("rows", [](array<const float, 2, c_contiguous> x) { return facts(x); }, py::arg("x"));
  m.def("columns", [](array<const float, 2, f_contiguous> x) { return facts(x); }, py::arg("x"));
  m.def(
      "points", [](array<const float, 2, shape<dynamic, 3>> x) { return facts(x); },
      py::arg("points"));
  m.def("scalar", [](array<const float, 0> x) { return x(); });
  m.def("on_gpu", [](array<float, dynamic, on_cuda> x) { return facts(x); }, py::arg("x"));

  m.def("run_on_gpu",
        [](array<float, dynamic, on_cuda> x, const py::function& body) { return body(facts(x)); });
  m.def("read_on_gpu", [](array<const float, dynamic, on_cuda> x, const py::function& body) {
    return body(facts(x));
  });
  m.def("result_on_gpu", [](array<const float, 1, on_cuda> x, const py::function& body) {
    array<float, 1, on_cuda> made(make_tensor({x.size()}, float32, x.device(), x.stream_number()));
    body(facts(x), facts(made));
    return like(x, made);
  });
  m.def("copied_to_host", [](array<const float, dynamic, converting> x) { return sum<float>(x); });

  m.def("convert", [](array<const float, dynamic, converting> x) { return facts(x); });
  m.def("convert_rows", [](array<const float, 2, c_contiguous, converting> x) { return facts(x); });
  m.def(
      "sum_converted", [](array<const float, dynamic, converting> x) { return sum<float>(x); },
      py::arg("x"));
  m.def(
      "no_convert", [](array<const float, dynamic, converting> x) { return sum<float>(x); },
      py::arg("x").noconvert());

  m.def("by_reference", [](const array<const float>& x) { return sum(x); });
  m.def(
      "optional", [](std::optional<array<const float>> x) { return x ? sum(*x) : -1.0; },
      py::arg("x") = py::none());
  m.def("many", [](const std::vector<array<const float>>& all) {
    double total = 0;
    for (const auto& x : all) total += sum(x);
    return total;
  });
  m.def("three", [](array<const float> a, array<const float> b, array<const float> c) {
    return sum(a) + sum(b) + sum(c);
  });
  m.def("nothing", [](py::handle) {});
  m.def("take_const", [](array<const float, 1>) {});
  m.def("take", [](array<float, 1>) {});
  m.def("take_dynamic", [](array<float>) {});
  m.def("take_converting", [](array<const float, 1, converting>) {});
}

void add_overloads(py::module_& m) {
  m.def("dtype_of", [](array<const float>) { return "float32"; });
  m.def("dtype_of", [](array<const double>) { return "float64"; });
  m.def("dtype_of", [](array<const std::int32_t>) { return "int32"; });
  m.def("dtype_of", [](float) { return "number"; });

  m.def("rank_of", [](array<const float, 1>) { return 1; }, py::arg("x"));
  m.def("rank_of", [](array<const float, 2>) { return 2; }, py::arg("x"));
  m.def("rank_of", [](array<const float, 3>) { return 3; }, py::arg("x"));

  m.def("device_of", [](array<const float>) { return "cpu"; });
  m.def("device_of", [](array<const float, dynamic, on_cuda>) { return "cuda"; });

  m.def("writable", [](array<float>) { return true; });
  m.def("writable", [](array<const float>) { return false; });

  // The one without a conversion is preferred, wherever it stands.
  m.def("exact", [](array<const double, dynamic, converting>) { return "converted"; });
  m.def("exact", [](array<const float>) { return "as it is"; });

  m.def("count", [](array<const float>) { return 1; }, py::arg("a"));
  m.def(
      "count", [](array<const float>, array<const float>) { return 2; }, py::arg("a"),
      py::arg("b"));

  m.def("array_or_object", [](array<const float>) { return "array"; });
  m.def("array_or_object", [](const py::object&) { return "object"; });
  m.def("array_or_text", [](const std::variant<array<const float>, std::string>& x) {
    return x.index() == 0 ? "array" : "text";
  });

  m.def("number_last", [](array<const float>) { return "array"; });
  m.def("number_last", [](int) { return "int"; });

  struct operand {
    double value;
  };
  py::class_<operand>(m, "Operand")
      .def(py::init<double>())
      .def(py::init([](array<const float> x) { return operand{sum(x)}; }), py::arg("x"))
      .def(
          "add", [](const operand& self, array<const float> x) { return self.value + sum(x); },
          py::arg("x"))
      .def(
          "__add__", [](const operand& self, array<const float> x) { return self.value + sum(x); },
          py::is_operator())
      .def_property(
          "value", [](const operand& self) { return self.value; },
          [](operand& self, array<const float> x) { self.value = sum(x); });
}

void add_lives(py::module_& m) {
  m.def("keep", [](array<const float> x) { kept.push_back(std::move(x)); });
  m.def("sum_of_kept", [] {
    double total = 0;
    for (const auto& x : kept) total += sum(x);
    return total;
  });
  m.def("drop_kept", [] { kept.clear(); });
  m.def(
      "drop_kept_elsewhere",
      [] { std::thread([all = std::exchange(kept, {})]() mutable { all.clear(); }).join(); },
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "drop_kept_under_lock",
      [] {
        const std::lock_guard locked(lock_of_kept);
        kept.clear();
      },
      py::call_guard<py::gil_scoped_release>());
  m.def("wait_for_lock", [] { const std::lock_guard locked(lock_of_kept); });
  m.def(
      "sum_without_gil", [](array<const float> x) { return sum(x); },
      py::call_guard<py::gil_scoped_release>());
  m.def("scale_without_gil", scale, py::call_guard<py::gil_scoped_release>());
  m.def("fail", [](array<const float>) { throw std::runtime_error("the body failed"); });
  m.def(
      "fail_without_gil", [](array<const float>) { throw std::out_of_range("without the GIL"); },
      py::call_guard<py::gil_scoped_release>());
  m.def("live", [] { return live_managed_tensors(); });
}

}  // namespace

PYBIND11_MODULE(caster_lab, m) {
  add_arguments(m);
  add_overloads(m);
  add_lives(m);
  caster_lab::add_results(m);
  caster_lab::add_own_results(m);
  caster_lab::add_nested(m);
}
