// Buffer: an exporter of the buffer protocol that says whatever it was told of its axes.
#include <stdlib.h>

#include "lab.h"

typedef struct {
  PyObject_HEAD int ndim;
  Py_ssize_t* ones_and_strides;  // `ndim` extents of 1, then as many strides of one element
  double element;
} lab_buffer;

static PyObject* buffer_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static char* names[] = {"ndim", NULL};
  int ndim;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "i", names, &ndim)) return NULL;
  const size_t axes = ndim > 0 ? (size_t)ndim : 0;
  lab_buffer* self = (lab_buffer*)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->ndim = ndim;
  self->ones_and_strides = malloc((2 * axes + 1) * sizeof(Py_ssize_t));
  if (!self->ones_and_strides) {
    Py_DECREF(self);
    return PyErr_NoMemory();
  }
  for (size_t i = 0; i < axes; ++i) {
    self->ones_and_strides[i] = 1;
    self->ones_and_strides[axes + i] = sizeof(double);
  }
  return (PyObject*)self;
}

static void buffer_dealloc(lab_buffer* self) {
  free(self->ones_and_strides);
  Py_TYPE(self)->tp_free(self);
}

static int buffer_get(lab_buffer* self, Py_buffer* view, int flags) {
  (void)flags;
  const int axes = self->ndim > 0 ? self->ndim : 0;
  *view = (Py_buffer){.buf = &self->element,
                      .obj = Py_NewRef(self),
                      .len = sizeof(double),
                      .itemsize = sizeof(double),
                      .ndim = self->ndim,
                      .format = "d",
                      .shape = self->ones_and_strides,
                      .strides = self->ones_and_strides + axes};
  return 0;
}

static PyBufferProcs procedures = {.bf_getbuffer = (getbufferproc)buffer_get};

PyTypeObject lab_buffer_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dlpack_lab.Buffer",
    .tp_basicsize = sizeof(lab_buffer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Buffer(ndim): one float64 in so many axes, more than PyBUF_MAX_NDIM as well.",
    .tp_new = buffer_new,
    .tp_dealloc = (destructor)buffer_dealloc,
    .tp_as_buffer = &procedures,
};
