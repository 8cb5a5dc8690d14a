#pragma once

#include <cstddef>
#include <string>

#include "fake_cuda.h"

// The fake driver's control functions for C++ tests.
namespace fake_cuda {

/// A kernel on a stream that reads or writes a range.
inline CUresult touch(CUstream stream, const void* data, std::size_t bytes, bool writes,
                      int device = 0) {
  const fake_cuda_access access{data, bytes, writes};
  return fake_cuda_work(device, stream, &access, 1);
}
inline CUresult write(CUstream stream, const void* data, std::size_t bytes, int device = 0) {
  return touch(stream, data, bytes, true, device);
}
inline CUresult read(CUstream stream, const void* data, std::size_t bytes, int device = 0) {
  return touch(stream, data, bytes, false, device);
}

/// Every finding, one a line; for the message of a failed check.
inline std::string findings() {
  std::string all;
  for (int i = 0; const char* text = fake_cuda_race(i); ++i) {
    all += text;
    all += '\n';
  }
  return all;
}

}  // namespace fake_cuda
