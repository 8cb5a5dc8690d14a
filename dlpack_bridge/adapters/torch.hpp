#pragma once

#include <dlpack/dlpack.h>
#if !defined(DLPACK_MAJOR_VERSION) || DLPACK_MAJOR_VERSION != 1 || DLPACK_MINOR_VERSION < 3
#error \
    "include <dlpack_bridge/adapters/torch.hpp> before torch's ATen/dlpack.h, which is older here"
#endif

#include <ATen/core/Tensor.h>

#include <dlpack_bridge/exchange.hpp>

// torch in C++, without Python. The adapter is shipped as source: whoever links
// `dlpack_bridge::torch` compiles adapters/torch.cpp against a torch of their own (2.1 or newer), so
// that no archive is bound to the ABI of one torch, and each binary keeps its own copy. No symbol of
// CUDA is referenced: streams and allocators are reached through the interfaces of c10.
//
// Decisions and their reasons are those of the Python package. CUDA memory is ordered when
// `cuda::use()` of the component `cuda` has handed in a backend. Both functions may be called on any
// thread, and what they return may be dropped on any thread.

namespace dlpack_bridge {

/// Shares a tensor, or copies it with a reason. The result owns a reference to the tensor: memory
/// whose last user it is goes back to torch's allocator as after `Tensor.record_stream`. Its `stream()`
/// is torch's current stream on the tensor's device unless `wanted.stream` says another, which is then
/// ordered after it. Synchronises only for a copy to the host.
/// @throws exchange_error with every blocker; std::bad_alloc, device_error
[[gnu::visibility("hidden")]] managed_tensor from_torch(at::Tensor tensor,
                                                        const requirements& wanted = {});

/// Shares an array with torch, or copies it with a reason: negative strides, unaligned memory, and
/// memory that is read-only, which torch cannot say (`wanted.readonly`). The storage of the result
/// owns the array, and so does every view of it. CUDA memory is ordered for torch's current stream
/// unless `wanted.stream` says another. The array is gone after a throw. The storage cannot be
/// resized: torch did not allocate it.
/// @throws exchange_error with every blocker; std::bad_alloc, device_error
[[gnu::visibility("hidden")]] at::Tensor to_torch(managed_tensor array,
                                                  const requirements& wanted = {});

}  // namespace dlpack_bridge
