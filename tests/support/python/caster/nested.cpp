// Arrays inside of what a function takes, and arrays that a body casts.

#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "caster_lab.hpp"
#include <dlpack_bridge/adapters/pybind11.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

using floats = array<const float>;
using pair_of_floats = std::pair<floats, floats>;

std::vector<floats> kept;

float sum(const floats& x) { return std::accumulate(x.begin(), x.end(), 0.0F); }

// What is in a container, in one row.
std::vector<floats> items(const pair_of_floats& x) { return {x.first, x.second}; }
std::vector<floats> items(const std::tuple<floats, floats>& x) {
  return {std::get<0>(x), std::get<1>(x)};
}
std::vector<floats> items(const std::array<floats, 2>& x) { return {x.begin(), x.end()}; }
std::vector<floats> items(const std::vector<floats>& x) { return x; }
std::vector<floats> items(const std::vector<pair_of_floats>& x) {
  return {x.at(0).first, x.at(0).second};
}
std::vector<floats> items(const std::map<std::string, pair_of_floats>& x) {
  return items(x.begin()->second);
}

// Calls back before the items are looked at, and keeps them on request.
template <class Container>
void add_container(py::module_& m, const char* name) {
  m.def(
      name,
      [](const Container& x, const py::function& meanwhile, bool keep) {
        meanwhile();
        std::vector<floats> all = items(x);
        float total = 0;
        for (const floats& item : all) total += sum(item);
        if (keep) kept = std::move(all);
        return total;
      },
      py::arg("x"), py::arg("meanwhile"), py::arg("keep") = false);
}

}  // namespace

void caster_lab::add_nested(py::module_& m) {
  add_container<pair_of_floats>(m, "in_pair");
  add_container<std::tuple<floats, floats>>(m, "in_tuple");
  add_container<std::array<floats, 2>>(m, "in_array");
  add_container<std::vector<floats>>(m, "in_vector");
  add_container<std::vector<pair_of_floats>>(m, "in_vector_of_pairs");
  add_container<std::map<std::string, pair_of_floats>>(m, "in_map_of_pairs");
  m.def("take_kept_items", [] {
    float total = 0;
    for (const floats& item : std::exchange(kept, {})) total += sum(item);
    return total;
  });

  m.def("in_variant", [](const std::variant<floats, int>&, int) {}, py::arg("x"), py::arg("n") = 0);
  m.def("in_optional", [](const std::optional<floats>&) {}, py::arg("x"));
  m.def("in_two", [](const floats&, const std::vector<floats>&) {}, py::arg("x"), py::arg("all"));
  m.def("overloaded", [](const std::vector<floats>&) { return "floats"; }, py::arg("x"));
  m.def(
      "overloaded", [](const std::vector<array<const double>>&) { return "doubles"; },
      py::arg("x"));

  m.def("cast", [](const py::object& x, const py::function& meanwhile) {
    const auto seen = x.cast<floats>();
    meanwhile();
    return sum(seen);
  });
  m.def("cast_item", [](const py::sequence& all, const py::function& meanwhile) {
    const floats seen = py::cast<floats>(all[0]);
    meanwhile();
    return sum(seen);
  });
  m.def("cast_tuple", [](const py::object& x) {
    const auto [values, factor] = x.cast<std::tuple<floats, int>>();
    return sum(values) * static_cast<float>(factor);
  });
  m.def("call", [](const std::function<floats(float)>& make, float x) { return sum(make(x)); });
  m.def("call_with", [](const std::function<float(floats)>& take) {
    return take(floats(share(std::vector<float>{1, 2})));
  });
}
