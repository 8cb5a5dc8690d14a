#pragma once

#include <string>
#include <vector>

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// The conversions as module functions: to_numpy, to_torch, convert, asarray, from_dlpack and what
/// pickles name. Ends with a null row.
PyMethodDef* entry_methods() noexcept;

/// Makes everything the entries need. Call once at module initialisation. False with an error set.
bool initialize_python() noexcept;

/// What a plan or a trace record tells, as plain values.
struct report {
  std::string action;
  std::vector<reason> reasons;
  std::vector<reason> blockers;
  std::int64_t nbytes = 0;
  bool readonly = false;
  std::string protocol;
  std::string source;
  std::string target;
  std::string summary;  ///< what is known of the source
  std::vector<stream_wait> waits;
};

report make_report(const exchange_report& e);

/// `plan`: decides and reports, does nothing. Arguments as `convert` takes them: two positional
/// values and keywords. False with an error set.
bool plan_exchange(PyObject* x, PyObject* to, PyObject* const* values, PyObject* names,
                   report& out);

}  // namespace dlpack_bridge::python
