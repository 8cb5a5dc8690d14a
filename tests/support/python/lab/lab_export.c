// Export: a producer whose every field the test chooses.
#include "lab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
  union {
    abi_legacy legacy;
    abi_versioned versioned;
  } managed;  // first, so that the address of the struct is the address of the managed tensor
  lab_counts* counts;
  enum lab_deleter mode;
  PyObject* owner;
  PyObject* callback;
} made;

abi_tensor* lab_tensor_of(void* managed, bool versioned) {
  return versioned ? &((abi_versioned*)managed)->tensor : &((abi_legacy*)managed)->tensor;
}

void lab_call_deleter(void* managed, bool versioned) {
  if (versioned) {
    abi_versioned* m = managed;
    if (m->deleter) m->deleter(m);
  } else {
    abi_legacy* m = managed;
    if (m->deleter) m->deleter(m);
  }
}

static void run_deleter(made* m) {
  atomic_fetch_add(&m->counts->deleter_calls, 1);
  if (Py_IsInitialized() && PyGILState_Check()) {
    atomic_fetch_add(&m->counts->deleter_calls_with_gil, 1);
  }
  bool needs_python = m->owner || m->callback || m->mode == LAB_DELETER_RAISE;
  if (!needs_python || !Py_IsInitialized()) return;
  PyGILState_STATE gil = PyGILState_Ensure();
  if (m->callback) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject* result = PyObject_CallNoArgs(m->callback);
    if (!result) PyErr_WriteUnraisable(m->callback);
    Py_XDECREF(result);
    PyErr_Restore(type, value, trace);
  }
  Py_CLEAR(m->callback);
  Py_CLEAR(m->owner);
  if (m->mode == LAB_DELETER_RAISE) {
    PyErr_SetString(PyExc_RuntimeError, "raised by the producer's deleter");
  }
  PyGILState_Release(gil);
}

static void legacy_deleter(abi_legacy* m) { run_deleter((made*)m); }
static void versioned_deleter(abi_versioned* m) { run_deleter((made*)m); }

void* lab_make_managed(lab_export* self) {
  made* m = calloc(1, sizeof(made));
  if (!m) return PyErr_NoMemory();
  m->counts = self->counts;
  m->mode = self->deleter;
  m->owner = Py_XNewRef(self->owner);
  m->callback = Py_XNewRef(self->callback);
  void* context = self->null_context ? NULL : m;
  bool has_deleter = self->deleter != LAB_DELETER_NULL;
  if (self->versioned) {
    m->managed.versioned = (abi_versioned){.version = self->version,
                                           .context = context,
                                           .deleter = has_deleter ? versioned_deleter : NULL,
                                           .flags = self->flags,
                                           .tensor = self->tensor};
  } else {
    m->managed.legacy = (abi_legacy){.tensor = self->tensor,
                                     .context = context,
                                     .deleter = has_deleter ? legacy_deleter : NULL};
  }
  atomic_fetch_add(&self->counts->exports, 1);
  return m;
}

static void capsule_destructor(PyObject* capsule) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  const char* name = PyCapsule_GetName(capsule);
  made* m = PyCapsule_GetPointer(capsule, name);
  atomic_fetch_add(&m->counts->destructor_calls, 1);
  if (!name || strncmp(name, "used_", 5) != 0) {
    lab_call_deleter(m, PyCapsule_GetContext(capsule) != NULL);
    PyErr_Clear();  // a destructor has nobody to raise to
  }
  PyErr_Restore(type, value, trace);
}

static PyObject* export_capsule(lab_export* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"name", NULL};
  const char* name = NULL;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|z", names, &name)) return NULL;
  const char* standard = self->versioned ? "dltensor_versioned" : "dltensor";
  void* managed = lab_make_managed(self);
  if (!managed) return NULL;
  PyObject* capsule = PyCapsule_New(managed, name ? strdup(name) : standard, capsule_destructor);
  if (capsule) PyCapsule_SetContext(capsule, self->versioned ? managed : NULL);
  return capsule;
}

static PyObject* export_owned(lab_export* self, PyObject* unused) {
  (void)unused;
  void* managed = lab_make_managed(self);
  return managed ? lab_owned_new(managed, self->versioned) : NULL;
}

// Copies a tuple of ints to memory that is never freed; None gives NULL.
static int parse_extents(PyObject* object, int64_t** out, Py_ssize_t* count) {
  *out = NULL;
  *count = 0;
  if (!object || object == Py_None) return 0;
  PyObject* items = PySequence_Fast(object, "shape and strides are sequences or None");
  if (!items) return -1;
  *count = PySequence_Fast_GET_SIZE(items);
  *out = malloc(sizeof(int64_t) * (size_t)(*count + 1));
  for (Py_ssize_t i = 0; *out && i < *count; ++i) {
    (*out)[i] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(items, i));
  }
  Py_DECREF(items);
  return PyErr_Occurred() ? -1 : 0;
}

// Moves extents to the end of a page that is followed by an unreadable one.
static int guard_extents(int64_t** extents, Py_ssize_t count) {
  if (!*extents) return 0;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = sizeof(int64_t) * (size_t)count;
  char* pages =
      mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || bytes > page || mprotect(pages + page, page, PROT_NONE) != 0) {
    PyErr_SetString(PyExc_MemoryError, "no guarded page");
    return -1;
  }
  *extents = memcpy(pages + page - bytes, *extents, bytes);
  return 0;
}

// An int is an address, None is NULL, anything else is copied into 256-byte aligned memory.
static int parse_data(PyObject* object, Py_ssize_t misalign, void** out) {
  *out = NULL;
  if (!object || object == Py_None) return 0;
  if (PyLong_Check(object)) {
    *out = PyLong_AsVoidPtr(object);
    return PyErr_Occurred() ? -1 : 0;
  }
  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) != 0) return -1;
  char* block = NULL;
  if (posix_memalign((void**)&block, 256, (size_t)(view.len + misalign + 1)) == 0) {
    PyBuffer_ToContiguous(block + misalign, &view, view.len, 'C');
    *out = block + misalign;
  }
  PyBuffer_Release(&view);
  return *out ? 0 : (PyErr_NoMemory(), -1);
}

static int parse_deleter(const char* name, enum lab_deleter* out) {
  if (strcmp(name, "count") == 0) return *out = LAB_DELETER_COUNT, 0;
  if (strcmp(name, "null") == 0) return *out = LAB_DELETER_NULL, 0;
  if (strcmp(name, "raise") == 0) return *out = LAB_DELETER_RAISE, 0;
  PyErr_Format(PyExc_ValueError, "deleter is 'count', 'null' or 'raise', not '%s'", name);
  return -1;
}

static int export_init(lab_export* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"data",    "shape",   "strides",     "ndim",     "dtype",
                          "device",  "version", "flags",       "versioned", "byte_offset",
                          "deleter", "owner",   "callback",    "null_context", "misalign",
                          NULL};
  PyObject *data = NULL, *shape = NULL, *strides = NULL, *ndim = Py_None;
  PyObject *owner = Py_None, *callback = Py_None;
  int code = 2, bits = 32, lanes = 1, type = 1, id = 0, versioned = 1, null_context = 0;
  unsigned major = 1, minor = 3;
  unsigned long long flags = 0, byte_offset = 0;
  const char* deleter = "count";
  Py_ssize_t misalign = 0, shape_count, strides_count;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO$O(iii)(ii)(II)KpKsOOpn", names, &data,
                                   &shape, &strides, &ndim, &code, &bits, &lanes, &type, &id,
                                   &major, &minor, &flags, &versioned, &byte_offset, &deleter,
                                   &owner, &callback, &null_context, &misalign)) {
    return -1;
  }
  self->versioned = versioned;
  self->version = (abi_version){major, minor};
  self->flags = flags;
  self->null_context = null_context;
  self->owner = owner == Py_None ? NULL : Py_NewRef(owner);
  self->callback = callback == Py_None ? NULL : Py_NewRef(callback);
  self->counts = calloc(1, sizeof(lab_counts));
  self->tensor.dtype = (abi_dtype){(uint8_t)code, (uint8_t)bits, (uint16_t)lanes};
  self->tensor.device = (abi_device){type, id};
  self->tensor.byte_offset = byte_offset;
  if (parse_deleter(deleter, &self->deleter) != 0) return -1;
  if (parse_extents(shape, &self->tensor.shape, &shape_count) != 0) return -1;
  if (parse_extents(strides, &self->tensor.strides, &strides_count) != 0) return -1;
  self->tensor.ndim = ndim == Py_None ? (int32_t)shape_count : (int32_t)PyLong_AsLong(ndim);
  if (PyErr_Occurred()) return -1;
  if (self->tensor.ndim != shape_count) {  // a lie: reading as far as it says is fatal
    if (guard_extents(&self->tensor.shape, shape_count) != 0) return -1;
    if (guard_extents(&self->tensor.strides, strides_count) != 0) return -1;
  }
  return parse_data(data, misalign, &self->tensor.data);
}

static void export_dealloc(lab_export* self) {
  Py_XDECREF(self->owner);
  Py_XDECREF(self->callback);
  Py_TYPE(self)->tp_free((PyObject*)self);
}

static PyObject* export_count(lab_export* self, void* which) {
  atomic_long* counters[] = {&self->counts->exports, &self->counts->deleter_calls,
                             &self->counts->destructor_calls,
                             &self->counts->deleter_calls_with_gil};
  return PyLong_FromLong(atomic_load(counters[(intptr_t)which]));
}

static PyObject* export_address(lab_export* self, void* unused) {
  (void)unused;
  return PyLong_FromVoidPtr(self->tensor.data);
}

static PyGetSetDef export_getset[] = {
    {"exports", (getter)export_count, NULL, "managed tensors made so far", (void*)0},
    {"deleter_calls", (getter)export_count, NULL, "deleters run so far", (void*)1},
    {"destructor_calls", (getter)export_count, NULL, "capsules destroyed so far", (void*)2},
    {"deleter_calls_with_gil", (getter)export_count, NULL, "those that held the GIL", (void*)3},
    {"address", (getter)export_address, NULL, "the data pointer", NULL},
    {0}};

static PyMethodDef export_methods[] = {
    {"capsule", (PyCFunction)(void (*)(void))export_capsule, METH_VARARGS | METH_KEYWORDS,
     "a new capsule around a new managed tensor"},
    {"owned", (PyCFunction)export_owned, METH_NOARGS, "a new managed tensor without a capsule"},
    {0}};

PyTypeObject lab_export_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dlpack_lab.Export",
    .tp_basicsize = sizeof(lab_export),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)export_init,
    .tp_dealloc = (destructor)export_dealloc,
    .tp_methods = export_methods,
    .tp_getset = export_getset,
};
