#pragma once

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

// Frameworks that take memory by a function of their own, `from_dlpack`, which is called once the exchange
// is decided and done. Their arrays are sources by the protocols that they speak.

/// What JAX holds depends on `jax_enable_x64`, which a program may change: the row is good for one
/// exchange.
target_row& jax_target() noexcept;

target_row& cupy_target() noexcept;

target_row& tensorflow_target() noexcept;
target_row& tvm_ffi_target() noexcept;

}  // namespace dlpack_bridge::python
