#pragma once

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// Describes a JAX array on a GPU by its attributes, for a look: its `__dlpack__` takes -1 for a stream
/// and every other number for an order. Dense, row-major and immutable is what JAX arrays are. What
/// cannot be read refuses the array; false only with an error set that must pass through.
bool describe_jax(inbound& in, device where);

}  // namespace dlpack_bridge::python
