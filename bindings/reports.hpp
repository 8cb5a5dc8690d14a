#pragma once

#include <pybind11/pybind11.h>

namespace dlpack_bridge::bindings {

// What tells about exchanges, by file. Each adds its functions and types to the module.

void add_plan(pybind11::module_& m);   ///< plan.cpp: plan, Plan
void add_trace(pybind11::module_& m);  ///< trace.cpp: trace
void add_info(pybind11::module_& m);   ///< info.cpp: info
void add_stats(pybind11::module_& m);  ///< stats.cpp: stats, shares_memory, record_stream, collect

}  // namespace dlpack_bridge::bindings
