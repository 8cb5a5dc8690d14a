#pragma once

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// Describes a JAX array in host memory by its buffer: the memory that `__dlpack__` gives, held in the
/// same way, in a quarter of the time, since no Python runs. False without an error when JAX lends no
/// such buffer: memory of a device, elements that only ml_dtypes has, layouts of its own, several shards.
/// Nothing is asked before: `platform()` of an array that was deleted ends the process (JAX 0.10.2).
bool describe_jax_on_host(inbound& in);

/// Describes a JAX array on a GPU by its attributes, for a look: its `__dlpack__` takes -1 for a stream
/// and every other number for an order. Dense, row-major and immutable is what JAX arrays are. What
/// cannot be read refuses the array; false only with an error set that must pass through.
bool describe_jax(inbound& in, device where);

}  // namespace dlpack_bridge::python
