#pragma once

#include <pybind11/pybind11.h>

namespace caster_lab {

void add_results(pybind11::module_& m);      ///< results.cpp
void add_own_results(pybind11::module_& m);  ///< own_results.cpp
void add_nested(pybind11::module_& m);       ///< nested.cpp

}  // namespace caster_lab
