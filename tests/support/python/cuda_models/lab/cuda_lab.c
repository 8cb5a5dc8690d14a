// What the models of the GPU libraries need in C: arrays that export managed tensors, owners of
// imported ones, and torch's exchange table. Rules and quirks are the models' own, in Python.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

#include "dlpack_abi.h"

enum { MOST_AXES = 8 };

static atomic_long live_exports;  // managed tensors whose deleter has not run
static atomic_long live_imports;  // managed tensors of others that a model holds

// ---- Array: the memory of a storage object under a shape -----------------------------------------

typedef struct {
  PyObject_HEAD
  PyObject* storage;  // keeps the memory alive
  PyObject* dtype;    // what the library calls the element type
  abi_tensor tensor;
  int64_t extents[2 * MOST_AXES];
  unsigned long long flags;  // DLPack's, of versioned exports
  char requires_grad;
  char neg_bit;
  char conj_bit;
} lab_array;

static PyTypeObject array_type;

static int parse_extents(PyObject* object, int64_t* out) {
  PyObject* items = PySequence_Fast(object, "shape and strides are sequences");
  if (!items) return -1;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
  for (Py_ssize_t i = 0; i < count && i < MOST_AXES; ++i) {
    out[i] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(items, i));
  }
  Py_DECREF(items);
  if (count > MOST_AXES) PyErr_SetString(PyExc_ValueError, "the models have up to 8 axes");
  return PyErr_Occurred() ? -1 : (int)count;
}

static int array_init(lab_array* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"storage", "address", "shape", "strides", "dtype",
                          "dlpack_dtype", "dlpack_device", "flags", NULL};
  PyObject *storage, *shape, *strides, *dtype;
  unsigned long long address, flags = 0;
  int code, bits, lanes, type, id;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OKOOO(iii)(ii)|K", names, &storage, &address,
                                   &shape, &strides, &dtype, &code, &bits, &lanes, &type, &id,
                                   &flags)) {
    return -1;
  }
  const int ndim = parse_extents(shape, self->extents);
  if (ndim < 0 || parse_extents(strides, self->extents + MOST_AXES) != ndim) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "one stride per axis");
    return -1;
  }
  Py_XSETREF(self->storage, Py_NewRef(storage));
  Py_XSETREF(self->dtype, Py_NewRef(dtype));
  self->flags = flags;
  self->tensor = (abi_tensor){.data = (void*)(uintptr_t)address,
                              .device = {type, id},
                              .ndim = ndim,
                              .dtype = {(uint8_t)code, (uint8_t)bits, (uint16_t)lanes},
                              .shape = self->extents,
                              .strides = self->extents + MOST_AXES};
  return 0;
}

static void array_dealloc(lab_array* self) {
  Py_XDECREF(self->storage);
  Py_XDECREF(self->dtype);
  Py_TYPE(self)->tp_free((PyObject*)self);
}

static PyObject* tuple_of(const int64_t* values, int count) {
  PyObject* result = PyTuple_New(count);
  for (int i = 0; result && i < count; ++i) {
    PyTuple_SET_ITEM(result, i, PyLong_FromLongLong(values[i]));
  }
  return result;
}

static PyObject* array_shape(lab_array* self, void* unused) {
  (void)unused;
  return tuple_of(self->extents, self->tensor.ndim);
}

static PyObject* array_strides(lab_array* self, void* unused) {
  (void)unused;
  return tuple_of(self->extents + MOST_AXES, self->tensor.ndim);
}

static PyObject* array_address(lab_array* self, void* unused) {
  (void)unused;
  return PyLong_FromVoidPtr(self->tensor.data);
}

static PyObject* array_requires_grad(lab_array* self, void* unused) {
  (void)unused;
  return PyBool_FromLong(self->requires_grad);
}

static int set_requires_grad(lab_array* self, PyObject* value, void* unused) {
  (void)unused;
  self->requires_grad = value && PyObject_IsTrue(value) == 1;
  return 0;
}

static PyObject* array_dtype(lab_array* self, void* unused) {
  (void)unused;
  return Py_NewRef(self->dtype);
}

static PyObject* array_is_neg(lab_array* self, PyObject* unused) {
  (void)unused;
  return PyBool_FromLong(self->neg_bit);
}

static PyObject* array_is_conj(lab_array* self, PyObject* unused) {
  (void)unused;
  return PyBool_FromLong(self->conj_bit);
}

// ---- export --------------------------------------------------------------------------------------

typedef struct {
  union {
    abi_legacy legacy;
    abi_versioned versioned;
  } managed;  // first: the address of the struct is the address of the managed tensor
  PyObject* storage;
  int64_t extents[2 * MOST_AXES];
} exported;

// What pools do with memory is written in Python, so the deleter takes the GIL, as NumPy's, CuPy's
// and cuda.core's do; torch's own is plain C++ and only easier on who calls it.
static void delete_exported(exported* e) {
  if (!Py_IsInitialized()) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  Py_DECREF(e->storage);
  PyErr_Restore(type, value, trace);
  PyGILState_Release(gil);
  free(e);
  atomic_fetch_sub(&live_exports, 1);
}

static void delete_legacy(abi_legacy* m) { delete_exported((exported*)m); }
static void delete_versioned(abi_versioned* m) { delete_exported((exported*)m); }

static exported* export_array(lab_array* self, bool versioned) {
  exported* e = calloc(1, sizeof(exported));
  if (!e) {
    PyErr_NoMemory();
    return NULL;
  }
  e->storage = Py_NewRef(self->storage);
  memcpy(e->extents, self->extents, sizeof(e->extents));
  abi_tensor tensor = self->tensor;
  tensor.shape = e->extents;
  tensor.strides = e->extents + MOST_AXES;
  if (versioned) {
    e->managed.versioned = (abi_versioned){.version = {1, 3},
                                           .context = e,
                                           .deleter = delete_versioned,
                                           .flags = self->flags,
                                           .tensor = tensor};
  } else {
    e->managed.legacy = (abi_legacy){.tensor = tensor, .context = e, .deleter = delete_legacy};
  }
  atomic_fetch_add(&live_exports, 1);
  return e;
}

static void capsule_destructor(PyObject* capsule) {
  const char* name = PyCapsule_GetName(capsule);
  if (strncmp(name, "used_", 5) != 0) delete_exported(PyCapsule_GetPointer(capsule, name));
}

static PyObject* array_capsule(lab_array* self, PyObject* args) {
  int versioned;
  if (!PyArg_ParseTuple(args, "p", &versioned)) return NULL;
  exported* e = export_array(self, versioned);
  if (!e) return NULL;
  return PyCapsule_New(e, versioned ? "dltensor_versioned" : "dltensor", capsule_destructor);
}

static PyMethodDef array_methods[] = {
    {"capsule", (PyCFunction)array_capsule, METH_VARARGS, "a capsule; True for a versioned one"},
    {"is_neg", (PyCFunction)array_is_neg, METH_NOARGS, "torch's lazy bit"},
    {"is_conj", (PyCFunction)array_is_conj, METH_NOARGS, "torch's lazy bit"},
    {0}};

static PyMemberDef array_members[] = {
    {"storage", T_OBJECT, offsetof(lab_array, storage), READONLY, "keeps the memory alive"},
    {"neg_bit", T_BOOL, offsetof(lab_array, neg_bit), 0, "what is_neg answers"},
    {"conj_bit", T_BOOL, offsetof(lab_array, conj_bit), 0, "what is_conj answers"},
    {0}};

static PyGetSetDef array_getset[] = {
    {"shape", (getter)array_shape, NULL, "", NULL},
    {"strides_in_elements", (getter)array_strides, NULL, "", NULL},
    {"address", (getter)array_address, NULL, "of the first element", NULL},
    {"dtype", (getter)array_dtype, NULL, "", NULL},
    {"requires_grad", (getter)array_requires_grad, (setter)set_requires_grad, "", NULL},
    {0}};

static PyTypeObject array_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "cuda_lab.Array",
    .tp_basicsize = sizeof(lab_array),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)array_init,
    .tp_dealloc = (destructor)array_dealloc,
    .tp_methods = array_methods,
    .tp_members = array_members,
    .tp_getset = array_getset,
};

// ---- Imported: a managed tensor of somebody else, released when it dies --------------------------

typedef struct {
  PyObject_HEAD
  void* managed;
  char versioned;
  char without_gil;
} lab_imported;

static PyTypeObject imported_type;

static lab_imported* import_managed(void* managed, bool versioned, bool without_gil) {
  lab_imported* self = PyObject_New(lab_imported, &imported_type);
  if (!self) return NULL;
  *self = (lab_imported){self->ob_base, managed, versioned, without_gil};
  atomic_fetch_add(&live_imports, 1);
  return self;
}

static void run_deleter(void* managed, bool versioned) {
  if (versioned) {
    abi_versioned* m = managed;
    if (m->deleter) m->deleter(m);
  } else {
    abi_legacy* m = managed;
    if (m->deleter) m->deleter(m);
  }
}

static void imported_dealloc(lab_imported* self) {
  if (self->managed) {
    atomic_fetch_sub(&live_imports, 1);
    if (self->without_gil) {
      Py_BEGIN_ALLOW_THREADS run_deleter(self->managed, self->versioned);
      Py_END_ALLOW_THREADS
    } else {
      run_deleter(self->managed, self->versioned);
    }
  }
  PyObject_Free(self);
}

static PyObject* imported_fields(lab_imported* self, void* unused) {
  (void)unused;
  const abi_versioned* m = self->versioned ? self->managed : NULL;
  const abi_tensor* t = m ? &m->tensor : &((abi_legacy*)self->managed)->tensor;
  PyObject* strides = t->strides ? tuple_of(t->strides, t->ndim) : Py_NewRef(Py_None);
  return Py_BuildValue("{s:K,s:N,s:N,s:(iii),s:(ii),s:K}", "address",
                       (unsigned long long)(uintptr_t)t->data + t->byte_offset, "shape",
                       tuple_of(t->shape, t->ndim), "strides", strides, "dlpack_dtype",
                       t->dtype.code, t->dtype.bits, t->dtype.lanes, "dlpack_device",
                       t->device.type, t->device.id, "flags",
                       m ? (unsigned long long)m->flags : 0ULL);
}

static PyGetSetDef imported_getset[] = {
    {"fields", (getter)imported_fields, NULL, "the tensor as a dict", NULL}, {0}};

static PyTypeObject imported_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "cuda_lab.Imported",
    .tp_basicsize = sizeof(lab_imported),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)imported_dealloc,
    .tp_getset = imported_getset,
};

static PyObject* take(PyObject* module, PyObject* args, PyObject* kwargs) {
  (void)module;
  static char* names[] = {"capsule", "without_gil", NULL};
  PyObject* capsule;
  int without_gil = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p", names, &capsule, &without_gil)) {
    return NULL;
  }
  const bool versioned = PyCapsule_IsValid(capsule, "dltensor_versioned");
  void* managed = PyCapsule_GetPointer(capsule, versioned ? "dltensor_versioned" : "dltensor");
  if (!managed) return NULL;
  lab_imported* made = import_managed(managed, versioned, without_gil);
  if (made) PyCapsule_SetName(capsule, versioned ? "used_dltensor_versioned" : "used_dltensor");
  return (PyObject*)made;
}

// ---- the exchange table of the type that calls itself torch.Tensor -------------------------------

static PyObject* import_hook;  // Imported -> the library's array
static PyObject* stream_hook;  // device index -> raw handle of the current stream

static int table_allocate(abi_tensor* prototype, abi_versioned** out, void* context,
                          abi_set_error set_error) {
  (void)prototype;
  (void)out;
  set_error(context, "RuntimeError", "the model does not allocate for others");
  return -1;
}

static bool is_array(void* object) {
  if (PyObject_TypeCheck((PyObject*)object, &array_type)) return true;
  PyErr_SetString(PyExc_RuntimeError, "not an array of the model");
  return false;
}

static int table_from_object(void* object, abi_versioned** out) {
  if (!is_array(object)) return -1;
  exported* e = export_array(object, true);
  if (!e) return -1;
  *out = &e->managed.versioned;
  return 0;
}

static int table_borrow(void* object, abi_tensor* out) {
  if (!is_array(object)) return -1;
  *out = ((lab_array*)object)->tensor;
  return 0;
}

// torch gives the GIL away while it drops a tensor's memory (THPVariable_clear, since 2.13).
static int table_to_object(abi_versioned* managed, void** out) {
  lab_imported* held = import_managed(managed, true, true);
  if (!held) return -1;
  *out = PyObject_CallOneArg(import_hook, (PyObject*)held);
  if (!*out) {
    held->managed = NULL;  // still the caller's
    atomic_fetch_sub(&live_imports, 1);
  }
  Py_DECREF(held);
  return *out ? 0 : -1;
}

static int table_stream(int32_t type, int32_t id, void** out) {
  if (type != 2) {
    PyErr_SetString(PyExc_RuntimeError, "streams are asked for of CUDA devices");
    return -1;
  }
  const PyGILState_STATE gil = PyGILState_Ensure();
  PyObject* handle = PyObject_CallFunction(stream_hook, "i", id);
  *out = handle ? PyLong_AsVoidPtr(handle) : NULL;
  Py_XDECREF(handle);
  const bool failed = PyErr_Occurred() != NULL;
  PyGILState_Release(gil);
  return failed ? -1 : 0;
}

static PyObject* exchange_table(PyObject* module, PyObject* args) {
  (void)module;
  static abi_table table = {.version = {1, 3},
                            .allocate = table_allocate,
                            .from_object = table_from_object,
                            .to_object = table_to_object,
                            .borrow = table_borrow,
                            .stream = table_stream};
  PyObject *import, *stream;
  if (!PyArg_ParseTuple(args, "OO", &import, &stream)) return NULL;
  Py_XSETREF(import_hook, Py_NewRef(import));
  Py_XSETREF(stream_hook, Py_NewRef(stream));
  return PyCapsule_New(&table, "dlpack_exchange_api", NULL);
}

// ---- the module ----------------------------------------------------------------------------------

// A type whose C name has its package in it, as those of C extensions do.
static PyObject* named_type(PyObject* module, PyObject* args) {
  (void)module;
  const char* name;
  PyObject* base;
  if (!PyArg_ParseTuple(args, "sO", &name, &base)) return NULL;
  PyType_Slot slots[] = {{0, NULL}};
  PyType_Spec spec = {strdup(name), 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  PyObject* bases = PyTuple_Pack(1, base);
  PyObject* made = bases ? PyType_FromSpecWithBases(&spec, bases) : NULL;
  Py_XDECREF(bases);
  return made;
}

static PyObject* live(PyObject* module, PyObject* unused) {
  (void)module;
  (void)unused;
  return Py_BuildValue("(ll)", atomic_load(&live_exports), atomic_load(&live_imports));
}

static PyMethodDef functions[] = {
    {"take", (PyCFunction)(void (*)(void))take, METH_VARARGS | METH_KEYWORDS,
     "consume a capsule as the protocol says"},
    {"exchange_table", exchange_table, METH_VARARGS, "torch's table, over these two hooks"},
    {"named_type", named_type, METH_VARARGS, "a subtype with a qualified C name"},
    {"live", live, METH_NOARGS, "exports and imports that are not released"},
    {0}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "cuda_lab",
                                        .m_doc = "C parts of the models of GPU libraries",
                                        .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_cuda_lab(void) {
  PyObject* module = PyModule_Create(&definition);
  if (!module || PyModule_AddType(module, &array_type) != 0 ||
      PyModule_AddType(module, &imported_type) != 0) {
    Py_XDECREF(module);
    return NULL;
  }
  return module;
}
