#pragma once

#include <cstddef>

namespace dlpack_bridge::detail {

/// Uninitialised memory of malloc; `start` goes to std::free.
struct host_memory {
  void* start;
  void* elements;  // aligned
};

/// Room for `head` bytes at `start`, and after them for `bytes` of elements. The alignment is a
/// power of two.
/// @throws std::bad_alloc
host_memory allocate_host_memory(std::size_t head, std::size_t bytes, std::size_t alignment);

}  // namespace dlpack_bridge::detail
