#include <dlpack_bridge/capabilities.hpp>

#include <iterator>

namespace dlpack_bridge {
namespace {

constexpr dtype_set every_dtype = dtype_set::range(dtype_id::boolean, dtype_id::float4_e2m1fn_x2);

// bool, all integers, float16/32/64, complex64/128: what NumPy has without help.
constexpr dtype_set native_dtypes = dtype_set::range(dtype_id::boolean, dtype_id::float64)
                                        .with(dtype_set(dtype_id::complex64, dtype_id::complex128));

// torch 2.13: c10/core/ScalarType.h and ATen/DLConvertor.cpp; float4 travels as two lanes.
constexpr dtype_set torch_dtypes =
    native_dtypes
        .with(dtype_set(dtype_id::bfloat16, dtype_id::complex32, dtype_id::float8_e4m3fn,
                        dtype_id::float8_e4m3fnuz, dtype_id::float8_e5m2, dtype_id::float8_e5m2fnuz,
                        dtype_id::float8_e8m0fnu))
        .with(dtype_set(dtype_id::float4_e2m1fn_x2));

// In the order of framework.
// clang-format off
constexpr capabilities rows[] = {
    {framework::cpp, "cpp", "", device_set::every(), every_dtype,
     /*negative_strides=*/true, /*any_strides=*/true, /*read_only=*/true, /*immutable=*/false, 1},
    {framework::array, "array", "dlpack_bridge", device_set::every(), every_dtype,
     true, true, true, false, 1},
    {framework::numpy, "numpy", "numpy", {kDLCPU}, native_dtypes, true, true, true, false, 1},
    // Negative strides abort the process in torch <= 2.13 (pytorch#188023); READ_ONLY is ignored.
    {framework::torch, "torch", "torch", {kDLCPU}, torch_dtypes, false, true, false, false, 1},
    // XLA takes dense row-major CPU memory at multiples of 64 bytes (jax/_src/dlpack.py).
    {framework::jax, "jax", "jax", {kDLCPU},
     native_dtypes.with(dtype_set(dtype_id::bfloat16)).with(float8_dtypes),
     false, false, false, true, 64},
    {framework::cupy, "cupy", "cupy-cuda13x", {kDLCUDA, kDLCUDAManaged}, native_dtypes,
     true, true, false, false, 1},
    {framework::tensorflow, "tensorflow", "tensorflow", {kDLCPU, kDLCUDA},
     native_dtypes.with(dtype_set(dtype_id::bfloat16)), false, false, false, true, 64},
    {framework::tvm_ffi, "tvm_ffi", "apache-tvm-ffi", device_set::every(), every_dtype,
     true, true, false, false, 1},
    {framework::other, "other", "", {}, {}, false, false, false, false, 1},
};
// clang-format on
static_assert(std::size(rows) == frameworks);

}  // namespace

const capabilities& capabilities_of(framework id) noexcept { return rows[static_cast<int>(id)]; }

framework framework_of(std::string_view name) noexcept {
  for (const capabilities& row : rows) {
    if (row.name == name) return row.id;
  }
  return framework::other;
}

}  // namespace dlpack_bridge
