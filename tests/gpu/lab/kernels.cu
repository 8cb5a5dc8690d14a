// The kernels of the GPU tests. Words are 32 bits, so that a fill can be a number, a NaN or poison.

/// Holds its stream up until the host raises the flag, or the time is over: a test that goes wrong
/// must end. `flag` and `timed_out` are pinned host memory.
extern "C" __global__ void lab_latch(const volatile int* flag, volatile int* timed_out,
                                     unsigned long long nanoseconds) {
  const auto now = [] {
    unsigned long long time;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
    return time;
  };
  const unsigned long long start = now();
  while (*flag == 0) {
    if (now() - start > nanoseconds) {
      *timed_out = 1;
      return;
    }
    __nanosleep(500);
  }
}

extern "C" __global__ void lab_fill(unsigned* words, unsigned long long count, unsigned value) {
  const unsigned long long step = 1ULL * gridDim.x * blockDim.x;
  for (unsigned long long i = 1ULL * blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    words[i] = value;
  }
}

// Past the caches of the multiprocessor: what is read is what is in memory at that time.
extern "C" __global__ void lab_copy(unsigned* to, const unsigned* from, unsigned long long count) {
  const unsigned long long step = 1ULL * gridDim.x * blockDim.x;
  for (unsigned long long i = 1ULL * blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = __ldcg(from + i);
  }
}
