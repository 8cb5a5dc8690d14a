#pragma once

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// Finds the row that `to` names: a name ("torch"), a module (torch) or an array type
/// (torch.Tensor), and prepares it. Null with ImportError (not installed), ValueError (an unknown
/// name) or TypeError set.
target_row* target_of(PyObject* to);

/// The row of a framework, as it is; null without an error for arrays of no framework.
target_row* target_of(framework id) noexcept;

/// Imports the framework of a row. False with an error set: ImportError naming the pip package when
/// it is not installed.
[[gnu::cold]] bool prepare(target_row& row);

/// The row, prepared; null with an error set.
inline target_row* prepared(target_row& row) { return row.ready || prepare(row) ? &row : nullptr; }

}  // namespace dlpack_bridge::python
