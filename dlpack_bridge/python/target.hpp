#pragma once

#include <dlpack_bridge/python/object.hpp>

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// Finds the row that `to` names: a name ("torch"), a module (torch) or an array type
/// (torch.Tensor), and prepares it. Null with ImportError (not installed), ValueError (an unknown
/// name) or TypeError set.
target_row* target_of(PyObject* to);

/// The row, prepared; null with ImportError set.
inline target_row* prepared(target_row& row) {
  return row.ready || row.prepare(row) ? &row : nullptr;
}

}  // namespace dlpack_bridge::python
