// The DLPack structs as the specification describes them, written down a second time on purpose:
// the tests must not share a header with what they test.
#pragma once

#include <stdint.h>

typedef struct {
  uint32_t major;
  uint32_t minor;
} abi_version;

typedef struct {
  int32_t type;
  int32_t id;
} abi_device;

typedef struct {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} abi_dtype;

typedef struct {
  void* data;
  abi_device device;
  int32_t ndim;
  abi_dtype dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
} abi_tensor;

typedef struct abi_legacy {
  abi_tensor tensor;
  void* context;
  void (*deleter)(struct abi_legacy*);
} abi_legacy;

typedef struct abi_versioned {
  abi_version version;
  void* context;
  void (*deleter)(struct abi_versioned*);
  uint64_t flags;
  abi_tensor tensor;
} abi_versioned;

typedef void (*abi_set_error)(void* context, const char* kind, const char* message);

typedef struct abi_table {
  abi_version version;
  struct abi_table* previous;
  int (*allocate)(abi_tensor*, abi_versioned**, void*, abi_set_error);
  int (*from_object)(void*, abi_versioned**);
  int (*to_object)(abi_versioned*, void**);
  int (*borrow)(void*, abi_tensor*);
  int (*stream)(int32_t, int32_t, void**);
} abi_table;

_Static_assert(sizeof(abi_tensor) == 48, "DLTensor");
_Static_assert(sizeof(abi_legacy) == 64, "DLManagedTensor");
_Static_assert(sizeof(abi_versioned) == 80, "DLManagedTensorVersioned");
_Static_assert(sizeof(abi_table) == 56, "DLPackExchangeAPI");
