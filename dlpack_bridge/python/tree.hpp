#pragma once

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// The module function `convert_tree`. Ends with a null row.
PyMethodDef* tree_methods() noexcept;

}  // namespace dlpack_bridge::python
