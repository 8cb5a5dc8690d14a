// A laboratory of DLPack producers and consumers for the tests: every field of every struct can be
// set to anything, and every call of a deleter, a capsule destructor or a table entry is counted.
// Memory that was handed out is never freed, so a deleter that runs twice is counted, not fatal.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "dlpack_abi.h"

// What one Export has seen, shared with the managed tensors it made.
typedef struct {
  atomic_long exports;
  atomic_long deleter_calls;
  atomic_long destructor_calls;
  atomic_long deleter_calls_with_gil;
} lab_counts;

enum lab_deleter { LAB_DELETER_COUNT, LAB_DELETER_NULL, LAB_DELETER_RAISE };

// A description of managed tensors to be made, field by field.
typedef struct {
  PyObject_HEAD
  bool versioned;
  abi_version version;
  uint64_t flags;
  abi_tensor tensor;
  bool null_context;
  enum lab_deleter deleter;
  PyObject* owner;     // one reference per managed tensor, or NULL
  PyObject* callback;  // called by each deleter, or NULL
  lab_counts* counts;
} lab_export;

// A managed tensor in the hands of a consumer.
typedef struct {
  PyObject_HEAD
  void* managed;  // NULL once released or handed over
  bool versioned;
} lab_owned;

extern PyTypeObject lab_export_type;
extern PyTypeObject lab_owned_type;
extern PyTypeObject lab_held_type;
extern PyTypeObject lab_buffer_type;

// lab_export.c
void* lab_make_managed(lab_export* self);
abi_tensor* lab_tensor_of(void* managed, bool versioned);
void lab_call_deleter(void* managed, bool versioned);

// lab_owned.c
PyObject* lab_owned_new(void* managed, bool versioned);
PyObject* lab_describe_tensor(const abi_tensor* tensor);
extern PyMethodDef lab_capsule_methods[];

// lab_table.c
extern PyMethodDef lab_table_methods[];
