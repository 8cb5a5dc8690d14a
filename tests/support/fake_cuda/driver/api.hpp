#pragma once

#include <cuda.h>

// A function of the driver API: found by name in the library, and through cuGetProcAddress.
#define FAKE_CUDA_API extern "C" __attribute__((visibility("default"))) CUresult
