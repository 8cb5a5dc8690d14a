#pragma once

namespace dlpack_bridge::python {

// What the hub knows of JAX beside its rows (producer.hpp, dlpack_targets.hpp).

/// Whether JAX holds elements of 64 bits now (`jax_enable_x64`); false before it is imported.
bool jax_has_x64() noexcept;

}  // namespace dlpack_bridge::python
