// ABI freeze: the size of every DLPack struct that is read or written, and the place of its fields,
// on 64-bit platforms. Compiling this file is the check.
#include <cstddef>

#include <catch2/catch_test_macros.hpp>
#include <dlpack/dlpack.h>

#define SAME_PLACE(type, field, offset) static_assert(offsetof(type, field) == (offset))

static_assert(sizeof(void*) == 8);
static_assert(sizeof(DLDeviceType) == 4);

static_assert(sizeof(DLPackVersion) == 8);
SAME_PLACE(DLPackVersion, major, 0);
SAME_PLACE(DLPackVersion, minor, 4);

static_assert(sizeof(DLDevice) == 8);
SAME_PLACE(DLDevice, device_type, 0);
SAME_PLACE(DLDevice, device_id, 4);

static_assert(sizeof(DLDataType) == 4);
SAME_PLACE(DLDataType, code, 0);
SAME_PLACE(DLDataType, bits, 1);
SAME_PLACE(DLDataType, lanes, 2);

static_assert(sizeof(DLTensor) == 48);
SAME_PLACE(DLTensor, data, 0);
SAME_PLACE(DLTensor, device, 8);
SAME_PLACE(DLTensor, ndim, 16);
SAME_PLACE(DLTensor, dtype, 20);
SAME_PLACE(DLTensor, shape, 24);
SAME_PLACE(DLTensor, strides, 32);
SAME_PLACE(DLTensor, byte_offset, 40);

static_assert(sizeof(DLManagedTensor) == 64);
SAME_PLACE(DLManagedTensor, dl_tensor, 0);
SAME_PLACE(DLManagedTensor, manager_ctx, 48);
SAME_PLACE(DLManagedTensor, deleter, 56);

static_assert(sizeof(DLManagedTensorVersioned) == 80);
SAME_PLACE(DLManagedTensorVersioned, version, 0);
SAME_PLACE(DLManagedTensorVersioned, manager_ctx, 8);
SAME_PLACE(DLManagedTensorVersioned, deleter, 16);
SAME_PLACE(DLManagedTensorVersioned, flags, 24);
SAME_PLACE(DLManagedTensorVersioned, dl_tensor, 32);

static_assert(sizeof(DLPackExchangeAPIHeader) == 16);
SAME_PLACE(DLPackExchangeAPIHeader, version, 0);
SAME_PLACE(DLPackExchangeAPIHeader, prev_api, 8);

static_assert(sizeof(DLPackExchangeAPI) == 56);
SAME_PLACE(DLPackExchangeAPI, header, 0);
SAME_PLACE(DLPackExchangeAPI, managed_tensor_allocator, 16);
SAME_PLACE(DLPackExchangeAPI, managed_tensor_from_py_object_no_sync, 24);
SAME_PLACE(DLPackExchangeAPI, managed_tensor_to_py_object_no_sync, 32);
SAME_PLACE(DLPackExchangeAPI, dltensor_from_py_object_no_sync, 40);
SAME_PLACE(DLPackExchangeAPI, current_work_stream, 48);

static_assert(DLPACK_FLAG_BITMASK_READ_ONLY == 1);
static_assert(DLPACK_FLAG_BITMASK_IS_COPIED == 2);
static_assert(DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED == 4);

TEST_CASE("DLPack structs have the layout of DLPack 1.3", "[abi]") {
  SUCCEED("checked by the compiler");
}
