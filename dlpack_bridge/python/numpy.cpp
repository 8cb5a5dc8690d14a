#include <dlpack_bridge/python/numpy.hpp>

#include <array>
#include <cstdint>
#include <new>
#include <utility>

#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/holder.hpp>
#include <dlpack_bridge/python/numpy_api.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {
namespace {

// ---- source --------------------------------------------------------------------------------

[[gnu::cold]] void name_own_dtype(inbound& in, PyArray_Descr* descr) {
  in.name_dtype(dtype_words(descr));
}

void describe_array(inbound& in, PyArrayObject* array) {
  static_assert(sizeof(npy_intp) == sizeof(extent));
  PyArray_Descr* const descr = PyArray_DESCR(array);
  const int ndim = PyArray_NDIM(array);
  const auto* shape = reinterpret_cast<const extent*>(PyArray_DIMS(array));
  const std::int64_t itemsize = PyArray_ITEMSIZE(array);
  dtype type = dtype_of_number(descr->type_num);
  in.desc.itemsize = itemsize;
  if (type.lanes == 0) [[unlikely]] {
    type = dtype();
    name_own_dtype(in, descr);
    in.desc.has_layout = itemsize != 0;  // an empty str or void has no strides to judge
  } else if (is_swapped(descr)) [[unlikely]] {
    in.desc.state.add(reason_code::byte_order);
  }
  const extent* strides = nullptr;  // dense rows: NumPy's flag means the same
  if (in.desc.has_layout && !PyArray_IS_C_CONTIGUOUS(array)) {
    const auto* byte_strides = reinterpret_cast<const extent*>(PyArray_STRIDES(array));
    strides = read_byte_strides(in, shape, byte_strides, ndim, itemsize);
  }
  in.desc.view =
      tensor_view(PyArray_DATA(array), shape, strides, ndim, type, {}, !PyArray_ISWRITEABLE(array));
  if (in.desc.has_layout) [[likely]]
    describe_strides(in.desc);
}

[[gnu::flatten, gnu::hot]] bool describe_ndarray(inbound& in, const requirements&) {
  describe_array(in, reinterpret_cast<PyArrayObject*>(in.object));
  return true;
}

// Whose memory an array made of a buffer uses: the object at the end of the arrays that it views. Null
// where NumPy allocated it.
[[gnu::noinline]] PyObject* buffer_behind(PyObject* array) noexcept {
  PyObject* base = PyArray_BASE(reinterpret_cast<PyArrayObject*>(array));
  while (base != nullptr && PyArray_Check(base)) {
    base = PyArray_BASE(reinterpret_cast<PyArrayObject*>(base));
  }
  const bool lends = base != nullptr && PyObject_CheckBuffer(base) && !PyBytes_Check(base);
  return lends ? base : nullptr;
}

// np.ndarray(buffer=...) keeps the object and not its export: whoever closes shared memory or a map leaves
// such an array dangling (numpy#18294). A result, and an argument that outlives its call, hold it as well.
[[gnu::noinline]] owner keep_with_buffer(PyObject* array, PyObject* base) {
  owner both[2] = {own_object(array), {}};
  if (borrow_buffer(base, PyBUF_SIMPLE, both[1]) == nullptr) {
    const bool lacks_memory = PyErr_ExceptionMatches(PyExc_MemoryError) != 0;
    PyErr_Clear();
    if (lacks_memory) throw std::bad_alloc();
    return std::move(both[0]);  // one that is not contiguous, or closed
  }
  return owner::of(std::to_array(std::move(both)));
}

[[gnu::hot]] owner keep_ndarray(PyObject* array) {
  if (PyArray_BASE(reinterpret_cast<PyArrayObject*>(array)) == nullptr) [[likely]] {
    return own_object(array);
  }
  PyObject* const buffer = buffer_behind(array);
  return buffer == nullptr ? own_object(array) : keep_with_buffer(array, buffer);
}

[[gnu::hot]] owner take_ndarray(inbound& in) { return keep_ndarray(in.object); }

// A scalar is an immutable value: it travels as a 0-d read-only array that NumPy makes of it.
bool describe_scalar(inbound& in, const requirements&) {
  ref array = ref::steal(PyArray_FromScalar(in.object, nullptr));
  if (!array) return in.refuse_producer_error();
  describe_array(in, reinterpret_cast<PyArrayObject*>(array.get()));
  tensor_view& view = in.desc.view;
  view = tensor_view(view.data(), nullptr, nullptr, 0, view.dtype(), {}, /*read_only=*/true);
  in.held = own_object(array.get());
  return true;
}

// Masked arrays keep their mask beside the elements: any exchange would lose it.
bool is_masked(PyTypeObject* type) noexcept {
  PyObject* module = loaded_module("numpy.ma");
  if (module == nullptr) return false;
  const ref masked = attribute_or_none(module, "MaskedArray");
  return masked && PyType_Check(masked.get()) &&
         PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(masked.get()));
}

// ---- target --------------------------------------------------------------------------------

bool prepare_numpy(target_row& row) {
  const ref module = ref::steal(PyImport_ImportModule("numpy"));
  if (!module || !load_numpy_api()) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ImportError, "numpy is installed but broken");
    return false;
  }
  if (has_ml_dtypes()) row.holds.dtypes = row.holds.dtypes.with(from_ml_dtypes);
  row.ready = true;
  return true;
}

// NumPy counts strides in bytes.
[[gnu::noinline]] void scale_strides(const tensor_view& view, npy_intp* strides) noexcept {
  const std::int64_t itemsize = view.dtype().itemsize();
  for (int i = 0; i < view.ndim(); ++i) strides[i] = view.strides()[i] * itemsize;
}

[[gnu::cold]] void raise_lacks_dtype(dtype type) {
  if (PyErr_Occurred()) return;
  PyErr_Format(PyExc_ImportError,
               "the installed ml_dtypes has no %s; upgrade it: pip install -U ml_dtypes",
               type.name().c_str());
}

[[gnu::hot]] PyObject* wrap_as_ndarray(handed_over& out, PyObject*) {
  const tensor_view& view = out.view;
  PyArray_Descr* const descr = descriptor_of(view.dtype());
  if (descr == nullptr) [[unlikely]] {
    raise_lacks_dtype(view.dtype());
    return nullptr;
  }
  ref base = make_holder(std::move(out.keep));
  if (!base) return nullptr;
  npy_intp strides[most_held_axes];
  const bool dense = view.strides() == nullptr;
  if (!dense) [[unlikely]]
    scale_strides(view, strides);
  const int flags = view.read_only() ? NPY_ARRAY_CARRAY_RO : NPY_ARRAY_CARRAY;
  Py_INCREF(descr);
  PyObject* array =
      PyArray_NewFromDescr(&PyArray_Type, descr, view.ndim(),
                           reinterpret_cast<npy_intp*>(const_cast<extent*>(view.shape().data())),
                           dense ? nullptr : strides, view.data(), flags, nullptr);
  if (array == nullptr) return nullptr;
  // Where there is no address NumPy takes one of its own, and forgets the flags.
  if (view.data() == nullptr && view.read_only()) {
    PyArray_CLEARFLAGS(reinterpret_cast<PyArrayObject*>(array), NPY_ARRAY_WRITEABLE);
  }
  if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(array), base.release()) < 0) {
    Py_DECREF(array);
    return nullptr;
  }
  return array;
}

}  // namespace

const source_row numpy_source{.protocol = "numpy",
                              .id = framework::numpy,
                              .describe = describe_ndarray,
                              .take = take_ndarray,
                              .keep = keep_ndarray};
const source_row numpy_scalar_source{"numpy_scalar", framework::numpy, describe_scalar, take_held};

bool numpy_is_loaded() noexcept {
  // Both names, so that a half-imported or foreign module called numpy is not taken for it.
  return loaded_module("numpy") != nullptr &&
         (loaded_module("numpy._core.multiarray") != nullptr ||
          loaded_module("numpy.core.multiarray") != nullptr) &&
         load_numpy_api();
}

bool look_at_numpy_type(type_entry& e) noexcept {
  if (!numpy_is_loaded()) return false;
  if (PyType_IsSubtype(e.type, &PyArray_Type)) {
    e.row = &numpy_source;
    e.origin = framework::numpy;
    if (is_masked(e.type)) {
      e.origin = framework::other;
      e.always = reason_set(reason_code::subclass);
      e.note = "numpy.ma.MaskedArray, whose mask would be lost; pass x.filled(value) or x.data";
    }
    return true;
  }
  if (PyType_IsSubtype(e.type, &PyGenericArrType_Type)) {
    e.row = &numpy_scalar_source;
    return true;
  }
  return false;
}

[[gnu::hot]] target_row& numpy_target() noexcept {
  static target_row row{.holds = capabilities_of(framework::numpy),
                        .prepare = prepare_numpy,
                        .wrap = wrap_as_ndarray,
                        .same = same_object,
                        .allocate = allocate_with_holder};
  return row;
}

}  // namespace dlpack_bridge::python
