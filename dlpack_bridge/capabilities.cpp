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

constexpr capabilities row(framework id, std::string_view name, std::string_view package,
                           device_set devices, dtype_set dtypes) noexcept {
  capabilities made;
  made.id = id;
  made.name = name;
  made.package = package;
  made.devices = devices;
  made.dtypes = dtypes;
  return made;
}

constexpr capabilities cpp_row() noexcept {
  capabilities r = row(framework::cpp, "cpp", "", device_set::every(), every_dtype);
  r.negative_strides = r.read_only = r.carries_order = true;
  return r;
}

constexpr capabilities array_row() noexcept {
  capabilities r =
      row(framework::array, "array", "dlpack_bridge", device_set::every(), every_dtype);
  r.negative_strides = r.read_only = r.carries_order = true;
  return r;
}

constexpr capabilities numpy_row() noexcept {
  capabilities r = row(framework::numpy, "numpy", "numpy", {kDLCPU}, native_dtypes);
  r.negative_strides = r.read_only = true;
  return r;
}

// Negative strides abort the process in torch <= 2.13 (pytorch#188023); READ_ONLY is ignored.
constexpr capabilities torch_row() noexcept {
  return row(framework::torch, "torch", "torch", {kDLCPU}, torch_dtypes);
}

// XLA takes dense row-major CPU memory at multiples of 64 bytes (jax/_src/dlpack.py).
constexpr capabilities jax_row() noexcept {
  capabilities r = row(framework::jax, "jax", "jax", {kDLCPU},
                       native_dtypes.with(dtype_set(dtype_id::bfloat16)).with(float8_dtypes));
  r.any_strides = false;
  r.immutable = true;
  r.alignment = 64;
  return r;
}

constexpr capabilities cupy_row() noexcept {
  capabilities r =
      row(framework::cupy, "cupy", "cupy-cuda13x", {kDLCUDA, kDLCUDAManaged}, native_dtypes);
  r.negative_strides = true;
  return r;
}

constexpr capabilities tensorflow_row() noexcept {
  capabilities r = row(framework::tensorflow, "tensorflow", "tensorflow", {kDLCPU, kDLCUDA},
                       native_dtypes.with(dtype_set(dtype_id::bfloat16)));
  r.any_strides = false;
  r.immutable = r.asks_no_stream = true;
  r.alignment = 64;
  return r;
}

constexpr capabilities tvm_ffi_row() noexcept {
  capabilities r =
      row(framework::tvm_ffi, "tvm_ffi", "apache-tvm-ffi", device_set::every(), every_dtype);
  r.negative_strides = r.asks_no_stream = true;
  return r;
}

// In the order of framework.
constexpr capabilities rows[] = {
    cpp_row(),        array_row(),   numpy_row(),
    torch_row(),      jax_row(),     cupy_row(),
    tensorflow_row(), tvm_ffi_row(), row(framework::other, "other", "", {}, {}),
};
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
