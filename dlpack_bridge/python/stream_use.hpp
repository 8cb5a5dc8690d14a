#pragma once

#include <cstdint>

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// Declares that work on `stream` uses the device memory of `x`, an Array or another result of the
/// hub, so that it is not given back before that work has run. The stream object is kept until then.
/// Does not synchronise. False with an error set: ValueError for host memory and for memory that the
/// hub did not hand out, ExchangeError for a number that is no stream, TypeError, CudaError.
bool record_use(PyObject* x, PyObject* stream) noexcept;

/// Runs the releases that are due; with `wait` it blocks, without the GIL, until all of them are.
/// How many owners went; -1 with an error set.
std::int64_t collect(bool wait) noexcept;

}  // namespace dlpack_bridge::python
