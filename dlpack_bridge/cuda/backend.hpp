#pragma once

#include <dlpack_bridge/device_backend.hpp>

namespace dlpack_bridge::cuda {

/// The CUDA backend of this binary. No driver call: the driver is opened when it is first needed.
const device_backend& backend() noexcept;

/// Makes it the one that `exchange` uses in this process. Call once, before the first exchange.
void use() noexcept;

}  // namespace dlpack_bridge::cuda
