#pragma once

#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// Makes the Python type below. False with an error set.
bool initialize_holder_type() noexcept;

/// A Python object that keeps an owner alive and counts as one managed tensor: the `base` of NumPy
/// arrays that the hub made. It offers no buffer, so a read-only array over it cannot be unlocked.
ref make_holder(owner keep) noexcept;

}  // namespace dlpack_bridge::python
