#pragma once

#include <pybind11/pybind11.h>

namespace dlpack_bridge::bindings {

/// Adds what tells about exchanges: plan, trace, info, stats, shares_memory, and the release
/// functions record_stream and collect.
void add_reports(pybind11::module_& m);

}  // namespace dlpack_bridge::bindings
