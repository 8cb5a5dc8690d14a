#pragma once

#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// Makes the Python type below. False with an error set.
bool initialize_holder_type() noexcept;

/// A Python object that keeps an owner alive and counts as one managed tensor: the `base` of NumPy
/// arrays that the hub made. It offers no buffer, so a read-only array over it cannot be unlocked.
ref make_holder(owner&& keep) noexcept;

/// Host memory with room for the holder that `make_holder` makes of its owner, so that one allocation
/// serves both. Needs no GIL.
/// @throws std::bad_alloc
backend_memory allocate_with_holder(std::int64_t nbytes, std::int64_t alignment);

}  // namespace dlpack_bridge::python
