#pragma once

#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {

// torch in Python, reached through its DLPack exchange table; builds before 2.10 have none and are
// reached through their capsules. Nothing here links libtorch, and only the target imports torch.

/// Sets row and state of torch's tensors. False when the type is none of them.
bool look_at_torch_type(type_entry& entry) noexcept;

/// The row of `torch.Tensor` as a target.
target_row& torch_target() noexcept;

}  // namespace dlpack_bridge::python
