// Owned: a consumer that holds a managed tensor and decides when, where and how it is released.
#include "lab.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

PyObject* lab_owned_new(void* managed, bool versioned) {
  lab_owned* self = PyObject_New(lab_owned, &lab_owned_type);
  if (!self) return NULL;
  self->managed = managed;
  self->versioned = versioned;
  return (PyObject*)self;
}

static PyObject* extents(const int64_t* values, int32_t count) {
  if (!values) Py_RETURN_NONE;
  PyObject* result = PyTuple_New(count);
  for (int32_t i = 0; result && i < count; ++i) {
    PyTuple_SET_ITEM(result, i, PyLong_FromLongLong(values[i]));
  }
  return result;
}

PyObject* lab_describe_tensor(const abi_tensor* t) {
  return Py_BuildValue("{s:N,s:(ii),s:i,s:(iii),s:N,s:N,s:K}", "data", PyLong_FromVoidPtr(t->data),
                       "device", t->device.type, t->device.id, "ndim", t->ndim, "dtype",
                       t->dtype.code, t->dtype.bits, t->dtype.lanes, "shape",
                       extents(t->shape, t->ndim), "strides", extents(t->strides, t->ndim),
                       "byte_offset", (unsigned long long)t->byte_offset);
}

static PyObject* describe_managed(void* managed, bool versioned) {
  PyObject* fields = lab_describe_tensor(lab_tensor_of(managed, versioned));
  if (!fields) return NULL;
  abi_versioned* m = versioned ? managed : NULL;
  bool has_deleter = m ? m->deleter != NULL : ((abi_legacy*)managed)->deleter != NULL;
  PyObject* more =
      m ? Py_BuildValue("{s:(II),s:K,s:i}", "version", m->version.major, m->version.minor, "flags",
                        (unsigned long long)m->flags, "has_deleter", has_deleter)
        : Py_BuildValue("{s:O,s:i}", "version", Py_None, "has_deleter", has_deleter);
  if (!more || PyDict_Update(fields, more) != 0) Py_CLEAR(fields);
  Py_XDECREF(more);
  return fields;
}

static void* take_from(lab_owned* self) {
  void* managed = self->managed;
  if (!managed) PyErr_SetString(PyExc_ValueError, "this managed tensor was released or handed over");
  self->managed = NULL;
  return managed;
}

static PyObject* owned_fields(lab_owned* self, PyObject* unused) {
  (void)unused;
  if (!self->managed) return take_from(self);
  return describe_managed(self->managed, self->versioned);
}

static PyObject* owned_release(lab_owned* self, PyObject* unused) {
  (void)unused;
  void* managed = take_from(self);
  if (!managed) return NULL;
  lab_call_deleter(managed, self->versioned);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

typedef struct {
  void* managed;
  bool versioned;
  pthread_mutex_t mutex;
  pthread_cond_t done_changed;
  bool done;
} job;

static void* run_job(void* argument) {
  job* j = argument;
  lab_call_deleter(j->managed, j->versioned);
  pthread_mutex_lock(&j->mutex);
  j->done = true;
  pthread_cond_signal(&j->done_changed);
  pthread_mutex_unlock(&j->mutex);
  return NULL;
}

static bool wait_for(job* j, double seconds) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += (time_t)seconds;
  pthread_mutex_lock(&j->mutex);
  int status = 0;
  while (!j->done && status != ETIMEDOUT) {
    status = pthread_cond_timedwait(&j->done_changed, &j->mutex, &until);
  }
  bool done = j->done;
  pthread_mutex_unlock(&j->mutex);
  return done;
}

// Runs the deleter on a thread that Python never saw. With hold_gil the caller keeps the GIL while
// it waits, which deadlocks (reported as False after the timeout) if the deleter waits for it.
static PyObject* owned_release_on_thread(lab_owned* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"hold_gil", "timeout", NULL};
  int hold_gil = 0;
  double timeout = 20.0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pd", names, &hold_gil, &timeout)) return NULL;
  void* managed = take_from(self);
  if (!managed) return NULL;
  job* j = calloc(1, sizeof(job));  // never freed: the thread may outlive the wait
  *j = (job){.managed = managed, .versioned = self->versioned};
  pthread_mutex_init(&j->mutex, NULL);
  pthread_cond_init(&j->done_changed, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_job, j) != 0) return PyErr_SetFromErrno(PyExc_OSError);
  pthread_detach(thread);
  bool done;
  if (hold_gil) {
    done = wait_for(j, timeout);
  } else {
    Py_BEGIN_ALLOW_THREADS done = wait_for(j, timeout);
    Py_END_ALLOW_THREADS
  }
  return PyBool_FromLong(done);
}

static void handed_over_destructor(PyObject* capsule) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  const char* name = PyCapsule_GetName(capsule);
  if (strncmp(name, "used_", 5) != 0) {
    lab_call_deleter(PyCapsule_GetPointer(capsule, name), strcmp(name, "dltensor") != 0);
  }
  PyErr_Restore(type, value, trace);
}

static PyObject* owned_capsule(lab_owned* self, PyObject* unused) {
  (void)unused;
  void* managed = take_from(self);
  if (!managed) return NULL;
  const char* name = self->versioned ? "dltensor_versioned" : "dltensor";
  return PyCapsule_New(managed, name, handed_over_destructor);
}

static PyObject* owned_is_alive(lab_owned* self, void* unused) {
  (void)unused;
  return PyBool_FromLong(self->managed != NULL);
}

// An Owned that is dropped does not release: forgetting to is what some tests are about.
static void owned_dealloc(lab_owned* self) { PyObject_Free(self); }

static PyMethodDef owned_methods[] = {
    {"fields", (PyCFunction)owned_fields, METH_NOARGS, "every field as a dict"},
    {"release", (PyCFunction)owned_release, METH_NOARGS, "run the deleter here"},
    {"release_on_thread", (PyCFunction)(void (*)(void))owned_release_on_thread,
     METH_VARARGS | METH_KEYWORDS, "run the deleter on a foreign thread without the GIL"},
    {"capsule", (PyCFunction)owned_capsule, METH_NOARGS, "hand over to a new capsule"},
    {0}};

static PyGetSetDef owned_getset[] = {
    {"alive", (getter)owned_is_alive, NULL, "neither released nor handed over", NULL}, {0}};

PyTypeObject lab_owned_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dlpack_lab.Owned",
    .tp_basicsize = sizeof(lab_owned),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)owned_dealloc,
    .tp_methods = owned_methods,
    .tp_getset = owned_getset,
};

static bool is_versioned(const char* name) { return strstr(name, "versioned") != NULL; }

static PyObject* read_capsule(PyObject* module, PyObject* capsule) {
  (void)module;
  const char* name = PyCapsule_GetName(capsule);
  if (!name) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no name");
  PyObject* fields = describe_managed(PyCapsule_GetPointer(capsule, name), is_versioned(name));
  PyObject* text = PyUnicode_FromString(name);
  if (!fields || !text || PyDict_SetItemString(fields, "name", text) != 0) Py_CLEAR(fields);
  Py_XDECREF(text);
  return fields;
}

static PyObject* capsule_name(PyObject* module, PyObject* capsule) {
  (void)module;
  const char* name = PyCapsule_GetName(capsule);
  if (!name) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
  return PyUnicode_FromString(name);
}

static PyObject* take_capsule(PyObject* module, PyObject* capsule) {
  (void)module;
  const char* name = PyCapsule_GetName(capsule);
  if (!name) return NULL;
  bool versioned = is_versioned(name);
  if (strcmp(name, "dltensor") != 0 && strcmp(name, "dltensor_versioned") != 0) {
    return PyErr_Format(PyExc_ValueError, "a capsule named '%s' cannot be taken", name);
  }
  void* managed = PyCapsule_GetPointer(capsule, name);
  PyCapsule_SetName(capsule, versioned ? "used_dltensor_versioned" : "used_dltensor");
  return lab_owned_new(managed, versioned);
}

static PyObject* rename_capsule(PyObject* module, PyObject* args) {
  (void)module;
  PyObject* capsule;
  const char* name;
  if (!PyArg_ParseTuple(args, "Os", &capsule, &name)) return NULL;
  if (PyCapsule_SetName(capsule, strdup(name)) != 0) return NULL;
  Py_RETURN_NONE;
}

// What a C++ static or a worker of another library does at the end of the process.
static struct {
  job* jobs;
  Py_ssize_t count;
  useconds_t pause;
  pthread_t thread;
  bool on_thread;
} at_exit;

static void* release_all(void* unused) {
  for (Py_ssize_t i = 0; i < at_exit.count; ++i) {
    lab_call_deleter(at_exit.jobs[i].managed, at_exit.jobs[i].versioned);
    if (at_exit.pause) usleep(at_exit.pause);
  }
  return unused;
}

static void finish_at_exit(void) {
  if (at_exit.on_thread) {
    pthread_join(at_exit.thread, NULL);
  } else {
    release_all(NULL);
  }
}

// Releases after the interpreter is gone; with pause_us on a foreign thread that starts now.
static PyObject* release_at_exit(PyObject* module, PyObject* args) {
  (void)module;
  PyObject* list;
  unsigned pause = 0;
  if (!PyArg_ParseTuple(args, "O!|I", &PyList_Type, &list, &pause)) return NULL;
  at_exit.count = PyList_GET_SIZE(list);
  at_exit.jobs = calloc((size_t)at_exit.count + 1, sizeof(job));
  for (Py_ssize_t i = 0; i < at_exit.count; ++i) {
    lab_owned* owned = (lab_owned*)PyList_GET_ITEM(list, i);
    at_exit.jobs[i].versioned = owned->versioned;
    at_exit.jobs[i].managed = take_from(owned);
    if (!at_exit.jobs[i].managed) return NULL;
  }
  at_exit.pause = pause;
  at_exit.on_thread = pause != 0;
  atexit(finish_at_exit);
  if (pause && pthread_create(&at_exit.thread, NULL, release_all, NULL) != 0) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  Py_RETURN_NONE;
}

PyMethodDef lab_capsule_methods[] = {
    {"read", read_capsule, METH_O, "every field of a capsule, which stays as it is"},
    {"name", capsule_name, METH_O, "the name of a capsule"},
    {"take", take_capsule, METH_O, "consume a capsule as the protocol says"},
    {"rename", rename_capsule, METH_VARARGS, "set the name of a capsule"},
    {"release_at_exit", release_at_exit, METH_VARARGS, "release Owned objects at process exit"},
    {0}};
