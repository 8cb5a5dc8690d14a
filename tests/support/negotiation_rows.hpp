#pragma once

#include "negotiation_setup.hpp"

namespace negotiation_setup {

/// Cases with all that speaks for a copy and all that blocks the exchange.
inline const row rows[] = {
    // What is shared.
    {"a plain array", none(), none(), [](setup&) {}},
    {"column-major", none(), none(), [](setup& s) { s.strides = {1, 4}; }},
    {"a slice with steps", none(), none(), [](setup& s) { s.strides = {12, 2}; }},
    {"a scalar", none(), none(), [](setup& s) { s.shape = {}; }},
    {"no elements, wherever they are", none(), none(),
     [](setup& s) { s.to(framework::jax), s.shape = {0, 3}, s.strides = {-7, 5}, s.offset = 1; }},
    {"axes of one element with any stride", none(), none(),
     [](setup& s) { s.to(framework::jax), s.shape = {1, 3}, s.strides = {-7, 1}; }},
    {"a negative stride where there are some", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.strides = {-3, 1}, s.offset = 64; }},
    {"read-only where that can be said", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.read_only = true; }},
    {"read-only where nobody writes", none(), none(),
     [](setup& s) { s.to(framework::jax), s.read_only = true; }},
    {"broadcast where read-only can be said", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.strides = {0, 1}; }},
    {"read-only shared on request", none(), none(),
     [](setup& s) {
       s.to(framework::torch), s.read_only = true, s.wanted.readonly = readonly_policy::share;
     }},
    {"requires_grad with detach", none(), none(),
     [](setup& s) { s.source.state.add(why::requires_grad), s.wanted.detach = true; }},
    {"detach for what needs none", none(), none(), [](setup& s) { s.wanted.detach = true; }},
    {"the dtype that it has", none(), none(), [](setup& s) { s.wanted.dtype = float32; }},
    {"the bits of a known type", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.type = bfloat16, s.wanted.bits = true; }},
    {"the bits of a dense packed type", none(), none(),
     [](setup& s) {
       s.to(framework::numpy), s.type = float4, s.shape = {3, 4}, s.wanted.bits = true;
     }},
    {"a packed type for who knows it", none(), none(), [](setup& s) { s.type = float6; }},
    {"a packed type with strides for who knows it", none(), none(),
     [](setup& s) { s.type = float4, s.strides = {1, 4}; }},
    {"the device where it is", none(), none(), [](setup& s) { s.wanted.device = device(); }},
    {"a CUDA array for who holds CUDA", none(), none(),
     [](setup& s) {
       s.to(framework::cupy), s.where = device(kDLCUDA, 1), s.source.driver = {};
     }},
    {"a CUDA array for who carries its order, without a driver", none(), none(),
     [](setup& s) { s.to(framework::array), s.where = device(kDLCUDA, 1); }},
    {"a CUDA array for another, without a driver to order it", none(), reason_set(why::driver),
     [](setup& s) { s.to(framework::cupy), s.where = device(kDLCUDA, 1); }},
    {"pinned memory for who knows the host only", none(), none(),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDAHost); }},
    {"pinned memory wanted on the CPU", none(), none(),
     [](setup& s) { s.where = device(kDLCUDAHost), s.wanted.device = device(); }},
    {"managed memory for who knows the host only", none(), none(),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDAManaged), s.source.driver = {};
     }},
    {"managed memory wanted on a CUDA device", none(), none(),
     [](setup& s) {
       s.where = device(kDLCUDAManaged), s.wanted.device = device(kDLCUDA),
       s.source.driver = {};
     }},
    {"a handle for who holds it", none(), none(), [](setup& s) { s.where = device(kDLMetal); }},
    {"an address of a handle says nothing", none(), none(),
     [](setup& s) { s.where = device(kDLMetal), s.offset = 1, s.wanted.alignment = 64; }},
    {"an aligned address", none(), none(),
     [](setup& s) { s.to(framework::jax), s.wanted.alignment = 4096; }},
    {"a complex number at a multiple of its part", none(), none(),
     [](setup& s) { s.type = complex128, s.offset = 8; }},
    {"packed elements at any byte", none(), none(),
     [](setup& s) { s.type = float4, s.shape = {2, 2}, s.offset = 3; }},
    {"as many axes as there can be", none(), none(), [](setup& s) { s.shape = extents(64, 1); }},
    {"C order that it has", none(), none(), [](setup& s) { s.wanted.c_order = true; }},

    // What is copied, with each reason.
    {"a CUDA array for the host", are(why::device), none(),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDA), s.source.driver = {};
     }},
    {"a host array wanted on a CUDA device", are(why::device), none(),
     [](setup& s) { s.wanted.device = device(kDLCUDA), s.source.driver = {}; }},
    {"a CUDA array wanted on another", are(why::device), none(),
     [](setup& s) {
       s.where = device(kDLCUDA), s.wanted.device = device(kDLCUDA, 1), s.source.driver = {};
     }},
    {"another dtype", are(why::dtype), none(), [](setup& s) { s.wanted.dtype = int8; }},
    {"float8 widened", are(why::dtype), none(),
     [](setup& s) { s.to(framework::numpy), s.type = float8, s.wanted.dtype = float32; }},
    {"the other byte order", are(why::byte_order), none(), state(why::byte_order)},
    {"the conjugate bit", are(why::conj), none(), state(why::conj)},
    {"the negative bit", are(why::neg), none(), state(why::neg)},
    {"a negative stride where there are none", are(why::negative_stride), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {-3, 1}, s.offset = 64; }},
    {"a negative stride for who wants dense arrays", are(why::negative_stride), none(),
     [](setup& s) { s.to(framework::jax), s.strides = {-3, 1}, s.offset = 64; }},
    {"column-major for who wants dense arrays", are(why::layout), none(),
     [](setup& s) { s.to(framework::jax), s.strides = {1, 4}; }},
    {"strides in bytes", are(why::layout), none(),
     [](setup& s) { s.source.byte_strides = true, s.strides = {21, 5}; }},
    {"column-major and C order wanted", are(why::order), none(),
     [](setup& s) { s.strides = {1, 4}, s.wanted.c_order = true; }},
    {"an address between elements", are(why::alignment), none(), [](setup& s) { s.offset = 2; }},
    {"a complex number between its parts", are(why::alignment), none(),
     [](setup& s) { s.type = complex128, s.offset = 4; }},
    {"an address that the target cannot take", are(why::alignment), none(),
     [](setup& s) { s.to(framework::jax), s.offset = 32; }},
    {"an address below what is wanted", are(why::alignment), none(),
     [](setup& s) { s.offset = 128, s.wanted.alignment = 256; }},
    {"read-only where that cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.read_only = true; }},
    {"broadcast where read-only cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {0, 1}; }},
    {"overlapping windows where read-only cannot be said", are(why::readonly), none(),
     [](setup& s) { s.to(framework::torch), s.strides = {1, 1}; }},
    {"what the producer copied", are(why::framework), none(),
     [](setup& s) { s.source.is_copied = true; }},
    {"every reason at once",
     are(why::dtype, why::byte_order, why::conj, why::neg, why::negative_stride, why::order,
         why::alignment, why::readonly, why::framework),
     none(),
     [](setup& s) {
       s.to(framework::torch), s.strides = {-3, 1}, s.offset = 66, s.read_only = true;
       s.source.state = are(why::byte_order, why::conj, why::neg), s.source.is_copied = true;
       s.wanted.dtype = float64, s.wanted.c_order = true;
     }},
    {"an error policy with a copy that happens anyway", are(why::negative_stride), none(),
     [](setup& s) {
       s.to(framework::torch), s.strides = {-3, 1}, s.offset = 64, s.read_only = true;
       s.wanted.readonly = readonly_policy::error;
     }},

    // What is refused, with each blocker.
    {"requires_grad", none(), are(why::requires_grad), state(why::requires_grad)},
    {"sparse", none(), are(why::sparse), unreadable(why::sparse)},
    {"meta", none(), are(why::meta), unreadable(why::meta)},
    {"fake", none(), are(why::fake), unreadable(why::fake)},
    {"quantized", none(), are(why::quantized), unreadable(why::quantized)},
    {"subclass", none(), are(why::subclass), unreadable(why::subclass)},
    {"nested", none(), are(why::nested), unreadable(why::nested)},
    {"functional", none(), are(why::functional), unreadable(why::functional)},
    {"version", none(), are(why::version), unreadable(why::version)},
    {"capsule", none(), are(why::capsule), unreadable(why::capsule)},
    {"malformed", none(), are(why::malformed), unreadable(why::malformed)},
    {"producer", none(), are(why::producer), unreadable(why::producer)},
    {"capture", none(), are(why::capture), state(why::capture)},
    {"a stream of the source", none(), are(why::stream), state(why::stream)},
    {"a stream number that does not exist", none(), are(why::stream),
     [](setup& s) { s.wanted.refused_stream = 0; }},
    {"vector elements", none(), are(why::lanes),
     [](setup& s) { s.type = dtype(kDLFloat, 32, 4); }},
    {"an element type without a number", none(), are(why::dtype),
     [](setup& s) { s.type = DLDataType{42, 24, 1}; }},
    {"an integer of three bits", none(), are(why::dtype),
     [](setup& s) { s.type = dtype(kDLInt, 3); }},
    {"an element type that DLPack lacks", none(), are(why::dtype),
     [](setup& s) { s.source.has_dtype = false, s.source.dtype_name = "<M8[ns]"; }},
    {"an element type that the target lacks", none(), are(why::dtype),
     [](setup& s) { s.to(framework::numpy), s.type = bfloat16; }},
    {"a wanted type that the target lacks", are(why::dtype), are(why::dtype),
     [](setup& s) { s.to(framework::numpy), s.wanted.dtype = bfloat16; }},
    {"packed elements as numbers", none(), are(why::dtype),
     [](setup& s) { s.type = float4, s.wanted.dtype = float32; }},
    {"numbers as packed elements", none(), are(why::dtype),
     [](setup& s) { s.wanted.dtype = float4_x2; }},
    {"the bits of 128", none(), are(why::dtype),
     [](setup& s) { s.type = complex128, s.wanted.bits = true; }},
    {"the bits of a packed type whose rows end inside a byte", none(), are(why::layout),
     [](setup& s) { s.type = float4, s.shape = {4, 3}, s.wanted.bits = true; }},
    {"the bits of one packed element", none(), are(why::layout),
     [](setup& s) { s.type = float4, s.shape = {}, s.wanted.bits = true; }},
    {"the bits of a packed type with strides", none(), are(why::layout),
     [](setup& s) {
       s.type = float4, s.shape = {4, 4}, s.strides = {8, 1}, s.wanted.bits = true;
     }},
    {"a packed type with strides copied", are(why::copy_requested), are(why::layout),
     [](setup& s) {
       s.type = float4, s.strides = {1, 4}, s.wanted.copy = copy_policy::always;
     }},
    {"an unknown device", none(), are(why::device), [](setup& s) { s.source.has_device = false; }},
    {"a device that the target lacks", are(why::device), are(why::device),
     [](setup& s) {
       s.to(framework::numpy), s.wanted.device = device(kDLCUDA), s.source.driver = {};
     }},
    {"a device type without an adapter", are(why::device), are(why::device),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLROCM); }},
    {"a device type without a name", are(why::device), are(why::device),
     [](setup& s) { s.where = device(static_cast<DLDeviceType>(42)); }},
    {"a handle that would be copied", are(why::copy_requested), are(why::device),
     [](setup& s) { s.where = device(kDLMetal), s.wanted.copy = copy_policy::always; }},
    {"a handle wanted on the CPU", are(why::device), are(why::device),
     [](setup& s) { s.where = device(kDLVulkan), s.wanted.device = device(); }},
    {"a CUDA array for the host without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDA); }},
    {"a host array for CUDA without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.wanted.device = device(kDLCUDA); }},
    {"a host array for pinned memory without a driver", are(why::device), are(why::driver),
     [](setup& s) { s.wanted.device = device(kDLCUDAHost); }},
    {"managed memory under another label without a driver", none(), are(why::driver),
     [](setup& s) { s.to(framework::numpy), s.where = device(kDLCUDAManaged); }},
    {"more axes than the target has", none(), are(why::layout),
     [](setup& s) { s.shape = extents(65, 1); }},
    {"more axes than a small target has", none(), are(why::layout),
     [](setup& s) { s.target.max_ndim = 1; }},
    {"read-only and an error policy", none(), are(why::readonly),
     [](setup& s) {
       s.to(framework::torch), s.read_only = true, s.wanted.readonly = readonly_policy::error;
     }},
    {"overlapping and an error policy", none(), are(why::readonly),
     [](setup& s) {
       s.to(framework::torch), s.strides = {0, 1}, s.wanted.readonly = readonly_policy::error;
     }},
    {"every blocker at once", are(why::device, why::alignment),
     are(why::requires_grad, why::stream, why::capture, why::dtype, why::driver, why::layout),
     [](setup& s) {
       s.to(framework::numpy), s.where = device(kDLCUDA), s.type = bfloat16, s.offset = 1;
       s.shape = extents(65, 1), s.wanted.refused_stream = -2;
       s.source.state = are(why::requires_grad, why::capture);
     }},
};

}  // namespace negotiation_setup
