#pragma once

#include <barrier>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

// The gather kernels themselves, compiled for the host: what they need of CUDA is little. A block
// that uses shared memory runs as threads with a barrier, any other block as a loop.
namespace gpu_on_host {

struct index3 {
  unsigned x = 0;
};

inline thread_local index3 thread_index, block_index;
inline index3 grid_size;
inline std::barrier<>* block_barrier = nullptr;
inline std::uint64_t misaligned_reads = 0;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};

template <class T>
T load_global(const T* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignof(T) != 0) ++misaligned_reads;
  return *p;
}

inline unsigned high_word_of_product(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32);
}

inline void wait_for_block() { block_barrier->arrive_and_wait(); }

}  // namespace gpu_on_host

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __shared__
#define __ldg gpu_on_host::load_global
#define __umulhi gpu_on_host::high_word_of_product
#define __syncthreads gpu_on_host::wait_for_block
#define threadIdx gpu_on_host::thread_index
#define blockIdx gpu_on_host::block_index
#define gridDim gpu_on_host::grid_size
namespace dlpack_bridge::cuda {
using gpu_on_host::uint4;
using gpu_on_host::ulonglong2;
}  // namespace dlpack_bridge::cuda
#include <dlpack_bridge/cuda/gather.cu>
#undef __device__
#undef __global__
#undef __grid_constant__
#undef __launch_bounds__
#undef __shared__
#undef __ldg
#undef __umulhi
#undef __syncthreads
#undef threadIdx
#undef blockIdx
#undef gridDim
#pragma GCC diagnostic pop

#include <dlpack_bridge/cuda/gather_launch.hpp>

namespace dlpack_bridge::cuda {
namespace {
uint4 shared_memory[48 * 1024 / 16];
}  // namespace
}  // namespace dlpack_bridge::cuda

namespace gpu_on_host {

/// Runs a launch to its end, with at most `most_blocks` blocks.
inline void run(const dlpack_bridge::cuda::gather_launch& launch, unsigned most_blocks = ~0U) {
  using namespace dlpack_bridge::cuda;
  const auto kernel = launch.moves ? dlpack_bridge_gather_move : dlpack_bridge_gather;
  grid_size.x = launch.blocks < most_blocks ? launch.blocks : most_blocks;
  const auto run_thread = [&](unsigned thread) {
    thread_index.x = thread;
    for (block_index.x = 0; block_index.x < grid_size.x; ++block_index.x) {
      kernel(launch.arguments);
      if (block_barrier != nullptr) wait_for_block();
    }
  };
  if (launch.shared_bytes == 0) {
    for (unsigned i = 0; i < gather_threads; ++i) run_thread(i);
    return;
  }
  std::barrier<> barrier(gather_threads);
  block_barrier = &barrier;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < gather_threads; ++i) threads.emplace_back(run_thread, i);
  for (std::thread& thread : threads) thread.join();
  block_barrier = nullptr;
}

}  // namespace gpu_on_host
