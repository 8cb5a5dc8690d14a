// The C exchange API from both sides: a producer type with counted tables, and calls of any table.
#include "lab.h"

#include <stdlib.h>
#include <string.h>

// ---- producer: Held objects, whose tables count every call --------------------------------------

typedef struct {
  PyObject_HEAD
  PyObject* export;
  PyObject* error;  // raised by the table's functions instead of an answer, or None
} lab_held;

static const char* const call_names[] = {"allocate", "from_object", "to_object", "borrow",
                                         "stream"};
static atomic_long calls[5];

static int allocate(abi_tensor* prototype, abi_versioned** out, void* context,
                    abi_set_error set_error) {
  (void)prototype;
  (void)out;
  atomic_fetch_add(&calls[0], 1);
  set_error(context, "RuntimeError", "Held does not allocate");
  return -1;
}

static int fails(lab_held* self) {
  if (!self->error || self->error == Py_None) return 0;
  PyErr_SetObject((PyObject*)Py_TYPE(self->error), self->error);
  return 1;
}

static int from_object(void* object, abi_versioned** out) {
  lab_held* self = object;
  atomic_fetch_add(&calls[1], 1);
  if (fails(self)) return -1;
  *out = lab_make_managed((lab_export*)self->export);
  return *out ? 0 : -1;
}

static int to_object(abi_versioned* tensor, void** out) {
  (void)tensor;
  (void)out;
  atomic_fetch_add(&calls[2], 1);
  PyErr_SetString(PyExc_RuntimeError, "Held does not import");
  return -1;
}

static int borrow(void* object, abi_tensor* out) {
  lab_held* self = object;
  atomic_fetch_add(&calls[3], 1);
  if (fails(self)) return -1;
  *out = ((lab_export*)self->export)->tensor;
  return 0;
}

static int stream(int32_t type, int32_t id, void** out) {
  (void)type;
  (void)id;
  atomic_fetch_add(&calls[4], 1);
  *out = NULL;
  return 0;
}

static int held_init(lab_held* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"export", "error", NULL};
  PyObject *export, *error = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|O", names, &lab_export_type, &export, &error))
    return -1;
  self->export = Py_NewRef(export);
  self->error = Py_NewRef(error);
  return 0;
}

static void held_dealloc(lab_held* self) {
  Py_XDECREF(self->export);
  Py_XDECREF(self->error);
  Py_TYPE(self)->tp_free((PyObject*)self);
}

PyTypeObject lab_held_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dlpack_lab.Held",
    .tp_basicsize = sizeof(lab_held),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)held_init,
    .tp_dealloc = (destructor)held_dealloc,
};

static PyObject* make_table(PyObject* module, PyObject* args, PyObject* kwargs) {
  (void)module;
  static char* names[] = {"major", "minor", "previous", "can_borrow", NULL};
  unsigned major = 1, minor = 3;
  unsigned long long previous = 0;
  int can_borrow = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$IIKp", names, &major, &minor, &previous,
                                   &can_borrow))
    return NULL;
  abi_table* table = malloc(sizeof(abi_table));  // tables live as long as the process
  *table = (abi_table){.version = {major, minor},
                       .previous = (abi_table*)(uintptr_t)previous,
                       .allocate = allocate,
                       .from_object = from_object,
                       .to_object = to_object,
                       .borrow = can_borrow ? borrow : NULL,
                       .stream = stream};
  return PyLong_FromVoidPtr(table);
}

static PyObject* table_capsule(PyObject* module, PyObject* args) {
  (void)module;
  unsigned long long address;
  const char* name = "dlpack_exchange_api";
  if (!PyArg_ParseTuple(args, "K|s", &address, &name)) return NULL;
  return PyCapsule_New((void*)(uintptr_t)address, strdup(name), NULL);
}

static PyObject* table_calls(PyObject* module, PyObject* unused) {
  (void)module;
  (void)unused;
  PyObject* result = PyDict_New();
  for (int i = 0; result && i < 5; ++i) {
    PyObject* count = PyLong_FromLong(atomic_load(&calls[i]));
    if (!count || PyDict_SetItemString(result, call_names[i], count) != 0) Py_CLEAR(result);
    Py_XDECREF(count);
  }
  return result;
}

// ---- consumer: calls every pointer of somebody's table -------------------------------------------

static abi_table* table_from(PyObject* capsule) {
  return PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
}

static PyObject* api_info(PyObject* module, PyObject* capsule) {
  (void)module;
  abi_table* t = table_from(capsule);
  if (!t) return NULL;
  return Py_BuildValue("{s:(II),s:N,s:i,s:i,s:i,s:i,s:i}", "version", t->version.major,
                       t->version.minor, "previous", PyLong_FromVoidPtr(t->previous), "allocate",
                       t->allocate != NULL, "from_object", t->from_object != NULL, "to_object",
                       t->to_object != NULL, "borrow", t->borrow != NULL, "stream",
                       t->stream != NULL);
}

static PyObject* failed(void) {
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_SystemError, "failure without an exception");
  return NULL;
}

static PyObject* api_export(PyObject* module, PyObject* args) {
  (void)module;
  PyObject *capsule, *object;
  if (!PyArg_ParseTuple(args, "OO", &capsule, &object)) return NULL;
  abi_table* t = table_from(capsule);
  abi_versioned* managed = NULL;
  if (!t || t->from_object(object, &managed) != 0) return failed();
  return lab_owned_new(managed, true);
}

static PyObject* api_borrow(PyObject* module, PyObject* args) {
  (void)module;
  PyObject *capsule, *object;
  if (!PyArg_ParseTuple(args, "OO", &capsule, &object)) return NULL;
  abi_table* t = table_from(capsule);
  abi_tensor tensor;
  if (!t || t->borrow(object, &tensor) != 0) return failed();
  return lab_describe_tensor(&tensor);
}

// On failure the managed tensor still belongs to the Owned object.
static PyObject* api_import(PyObject* module, PyObject* args) {
  (void)module;
  PyObject* capsule;
  lab_owned* owned;
  if (!PyArg_ParseTuple(args, "OO!", &capsule, &lab_owned_type, &owned)) return NULL;
  abi_table* t = table_from(capsule);
  void* object = NULL;
  if (!t || t->to_object(owned->managed, &object) != 0) return failed();
  owned->managed = NULL;
  return object;
}

typedef struct {
  int count;
  char kind[64];
  char message[1024];
} error_report;

static void report_error(void* context, const char* kind, const char* message) {
  error_report* report = context;
  report->count += 1;
  strncpy(report->kind, kind, sizeof(report->kind) - 1);
  strncpy(report->message, message, sizeof(report->message) - 1);
}

// Returns (Owned or None, number of SetError calls, kind, message).
static PyObject* api_allocate(PyObject* module, PyObject* args) {
  (void)module;
  PyObject *capsule, *shape;
  int code, bits, lanes, type, id;
  if (!PyArg_ParseTuple(args, "OO!(iii)(ii)", &capsule, &PyTuple_Type, &shape, &code, &bits, &lanes,
                        &type, &id))
    return NULL;
  int64_t values[64];
  Py_ssize_t ndim = PyTuple_GET_SIZE(shape);
  for (Py_ssize_t i = 0; i < ndim && i < 64; ++i) {
    values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape, i));
  }
  abi_tensor prototype = {.device = {type, id},
                          .ndim = (int32_t)ndim,
                          .dtype = {(uint8_t)code, (uint8_t)bits, (uint16_t)lanes},
                          .shape = values};
  abi_table* t = table_from(capsule);
  if (!t) return NULL;
  abi_versioned* managed = NULL;
  error_report report = {0};
  int status = t->allocate(&prototype, &managed, &report, report_error);
  if (PyErr_Occurred()) return NULL;
  PyObject* owned = status == 0 ? lab_owned_new(managed, true) : Py_NewRef(Py_None);
  return Py_BuildValue("Niss", owned, report.count, report.kind, report.message);
}

static PyObject* api_stream(PyObject* module, PyObject* args) {
  (void)module;
  PyObject* capsule;
  int type, id;
  if (!PyArg_ParseTuple(args, "Oii", &capsule, &type, &id)) return NULL;
  abi_table* t = table_from(capsule);
  void* out = (void*)(uintptr_t)0xdead;
  if (!t || t->stream(type, id, &out) != 0) return failed();
  return PyLong_FromVoidPtr(out);
}

PyMethodDef lab_table_methods[] = {
    {"make_table", (PyCFunction)(void (*)(void))make_table, METH_VARARGS | METH_KEYWORDS,
     "the address of a new table for Held objects"},
    {"table_capsule", table_capsule, METH_VARARGS, "a capsule around the address of a table"},
    {"table_calls", table_calls, METH_NOARGS, "how often each function of the tables was called"},
    {"api_info", api_info, METH_O, "the header of a table and which pointers are set"},
    {"api_export", api_export, METH_VARARGS, "managed_tensor_from_py_object_no_sync"},
    {"api_borrow", api_borrow, METH_VARARGS, "dltensor_from_py_object_no_sync"},
    {"api_import", api_import, METH_VARARGS, "managed_tensor_to_py_object_no_sync"},
    {"api_allocate", api_allocate, METH_VARARGS, "managed_tensor_allocator"},
    {"api_stream", api_stream, METH_VARARGS, "current_work_stream"},
    {0}};
