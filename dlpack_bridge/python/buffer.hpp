#pragma once

#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

// Objects with the buffer protocol: bytes, bytearray, memoryview, array.array, mmap, shared memory.

/// Asks the object for its buffer and describes it; what is lent goes to `in.held`. False with the
/// object's error set.
bool describe_lent_buffer(inbound& in);

}  // namespace dlpack_bridge::python
