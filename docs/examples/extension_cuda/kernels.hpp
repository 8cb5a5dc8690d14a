#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

// Plain C++ on this side, CUDA in kernels.cu: pybind11 does not have to pass through nvcc.

void launch_scale(float* x, std::int64_t size, float factor, cudaStream_t stream);
void launch_add(const float* a, const float* b, float* sum, std::int64_t size, cudaStream_t stream);
