#include "kernels.hpp"

namespace {

constexpr int threads = 256;

unsigned blocks_for(std::int64_t size) {
  return static_cast<unsigned>((size + threads - 1) / threads);
}

__global__ void scale(float* x, std::int64_t size, float factor) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) x[i] *= factor;
}

__global__ void add(const float* a, const float* b, float* sum, std::int64_t size) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) sum[i] = a[i] + b[i];
}

}  // namespace

void launch_scale(float* x, std::int64_t size, float factor, cudaStream_t stream) {
  if (size > 0) scale<<<blocks_for(size), threads, 0, stream>>>(x, size, factor);
}

void launch_add(const float* a, const float* b, float* sum, std::int64_t size,
                cudaStream_t stream) {
  if (size > 0) add<<<blocks_for(size), threads, 0, stream>>>(a, b, sum, size);
}
