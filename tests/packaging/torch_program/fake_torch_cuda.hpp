#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "fake_cuda.h"

// A torch with CUDA, as far as the adapter sees it, in a build without: a guard for devices of type
// CUDA that knows a current stream, and an allocator that takes notes as the caching allocator does.
// The memory is the fake driver's idea of device memory.

namespace fake_torch {

/// Gives torch CUDA with so many devices, at most 1. Once, before the first use of the adapter.
void give_cuda(c10::DeviceIndex devices = 1);

/// Makes a stream the current one of device 0; null is torch's default stream.
void set_current_stream(CUstream stream);

/// A tensor of the allocator, counted up from 0, written on the current stream.
at::Tensor arange(std::int64_t size);

/// The streams that the allocator was told of (Tensor.record_stream) since the last call.
std::vector<CUstream> notes();

/// How many blocks came back to the allocator, and were handed out again on the stream that was
/// current when they were made, after the streams that the allocator has noted.
int reused();

}  // namespace fake_torch
