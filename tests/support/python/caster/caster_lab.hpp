#pragma once

#include <pybind11/pybind11.h>

namespace caster_lab {

void add_results(pybind11::module_& m);  ///< results.cpp

}  // namespace caster_lab
