// What a function gives back of its own: copies that it made, memory of Python objects, nothing at all,
// and errors.

#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

#include <pybind11/stl.h>

#include "caster_lab.hpp"
#include <dlpack_bridge/adapters/pybind11.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/exchange.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

// As a library gives it that made a copy of its own for it.
managed_tensor marked_as_copied() {
  static float memory[2] = {1, 2};
  static constexpr extent shape[] = {2};
  return managed_tensor::wrap(tensor_view(memory, shape, nullptr, 1, float32),
                              owner::of(std::make_shared<int>(0)), DLPACK_FLAG_BITMASK_IS_COPIED);
}

struct frame {
  array<float> pixels;
};

void add_copies(py::module_& m) {
  m.def("c_order", [](array<const float> x) {
    requirements wanted;
    wanted.c_order = true;
    return exchange(share(x), wanted);
  });
  m.def("as_doubles", [](array<const float> x) {
    requirements wanted;
    wanted.dtype = float64;
    array<double> made(exchange(share(x), wanted));
    for (double& value : made) value += 1;
    return made;
  });
  m.def("shared_copy", [] {
    requirements always, never;
    always.copy = copy_policy::always;
    never.copy = copy_policy::never;
    return exchange(exchange(share(std::vector<float>{1, 2}), always), never);
  });
  m.def("marked_as_copied", marked_as_copied);
}

void add_owners(py::module_& m) {
  m.def("owned_by", [](py::object keep) {
    static float memory[4] = {1, 2, 3, 4};
    return share(memory, {4}, {}, float32, std::move(keep));
  });
  m.def("owned_by_nothing", [] {
    static float memory[1] = {1};
    return share(memory, {1}, {}, float32, py::object());
  });
  m.def("of_bytes", [](const py::bytes& bytes) {
    const auto text = static_cast<std::string_view>(bytes);
    return share(text.data(), {text.size()}, {}, uint8, bytes, device(), true);
  });
  m.def("owned_by_item", [](const py::dict& kept) {
    static float memory[1] = {1};
    return share(memory, {1}, {}, float32, kept["item"]);
  });
}

void add_nothings(py::module_& m) {
  m.def("nothing_given", [] { return managed_tensor(); });
  m.def("nothing_as_numpy", [] { return as_numpy(managed_tensor()); });
  m.def("nothing_as_torch", [] { return as_torch(managed_tensor()); });
  m.def("nothing_as_array", [] { return as_array(managed_tensor()); });
  m.def("nothing_like", [](array<const float> x) { return like(x, managed_tensor()); });
  m.def("nothing_moved_from", [] {
    managed_tensor t = share(std::vector<float>{1});
    const managed_tensor gone = std::move(t);
    return t;
  });
  m.def("nothing_typed", [] { return array<float>(); });
  py::class_<frame>(m, "Frame").def(py::init<>()).def_readwrite("pixels", &frame::pixels);
}

void add_lvalues(py::module_& m) {
  m.def("like_vector", [](array<const float> x) {
    std::vector<float> result{1, 2};
    auto given = like(x, result);
    result = {7, 7};
    return given;
  });
  m.def("like_tensor", [](array<const float> x) {
    managed_tensor result = share(std::vector<float>{1, 2}, {2, 1});
    auto given = like(x, result);
    static_cast<float*>(result.view().data())[0] = 5;  // the same memory
    return given;
  });
  m.def("numpy_of_tensor", [] {
    managed_tensor result = share(std::vector<float>{1, 2});
    return as_numpy(result);
  });
}

void add_errors(py::module_& m) {
  const auto refuse = [] {
    throw exchange_error("the body refuses", {{reason_code::dtype, "no such elements"},
                                              {reason_code::layout, "no such axes"}});
  };
  m.def("refuse", refuse);
  m.def("refuse_without_gil", refuse, py::call_guard<py::gil_scoped_release>());
  m.def("refuse_version", [] { throw version_error({9, 1}); });
  m.def("refuse_device", [] { throw device_error(700, "CUDA_ERROR_OF_A_TEST", "it fell over"); });
}

}  // namespace

void caster_lab::add_own_results(py::module_& m) {
  add_copies(m);
  add_owners(m);
  add_nothings(m);
  add_lvalues(m);
  add_errors(m);
}
