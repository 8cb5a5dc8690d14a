#pragma once

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

enum class jax_buffer : std::uint8_t { described, none, failed };

/// Describes a JAX array in host memory by its buffer: the memory that `__dlpack__` gives, in a quarter of
/// the time, since no Python runs. `none`, without an error, when it lends no such buffer: memory of a
/// device, elements that only ml_dtypes has, layouts of its own, several shards, an array that was deleted
/// or is still being computed. JAX 0.10.2 waits for the latter without the GIL, and ends the process when
/// another thread deletes it meanwhile. `failed` with an error set that must pass through.
jax_buffer describe_jax_on_host(inbound& in);

/// Describes a JAX array on a GPU by its attributes, for a look: its `__dlpack__` takes -1 for a stream
/// and every other number for an order. Dense, row-major and immutable is what JAX arrays are. What
/// cannot be read refuses the array; false only with an error set that must pass through.
bool describe_jax(inbound& in, device where);

/// Whether an array of JAX says that all of it is in host memory, which no export need prove: it may be
/// in several parts. Leaves no error set.
bool is_on_host_in_jax(PyObject* x) noexcept;

/// Whether JAX holds elements of 64 bits now (`jax_enable_x64`); false before it is imported.
bool jax_has_x64() noexcept;

}  // namespace dlpack_bridge::python
