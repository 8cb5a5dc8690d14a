// Puts the laboratory into a Python module.
#include "lab.h"

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "dlpack_lab",
                                        .m_doc = "DLPack producers and consumers, field by field",
                                        .m_size = -1};

PyMODINIT_FUNC PyInit_dlpack_lab(void) {
  PyObject* module = PyModule_Create(&definition);
  if (!module || PyModule_AddType(module, &lab_export_type) != 0 ||
      PyModule_AddType(module, &lab_owned_type) != 0 ||
      PyModule_AddType(module, &lab_held_type) != 0 ||
      PyModule_AddType(module, &lab_buffer_type) != 0 ||
      PyModule_AddFunctions(module, lab_capsule_methods) != 0 ||
      PyModule_AddFunctions(module, lab_table_methods) != 0) {
    Py_XDECREF(module);
    return NULL;
  }
  return module;
}
