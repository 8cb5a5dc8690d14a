#pragma once

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// Whether an array of host memory leaves in a capsule as it is when nothing is asked: decided once,
/// since it never changes.
enum class plain_export : std::uint8_t { undecided, yes, no };

/// `dlpack_bridge.Array`: an array of any framework and device, held by the hub. It is the managed
/// tensor of its exchange: shape and strides are its own, the memory is kept alive by `keep`.
struct array_object {
  PyObject_VAR_HEAD owner keep;
  live_object_token token;
  PyObject* weak_references;
  void* data;
  std::uint64_t byte_offset;
  dlpack_bridge::dtype dtype;
  dlpack_bridge::device device;
  std::int32_t ndim;
  bool read_only;
  bool copied;            ///< the exchange that made it copied
  bool in_transit;        ///< made to be handed to a framework by an exchange, and gone then
  plain_export plain[2];  ///< in a legacy capsule, in a versioned one
  stream_handle stream;   ///< what device memory is ordered on
  PyObject* source;   ///< a weak reference to whoever may write to shared device memory, or null
  extent extents[1];  ///< shape, then strides in elements

  const extent* shape() const noexcept { return extents; }
  const extent* strides() const noexcept { return extents + ndim; }
  DLTensor tensor() const noexcept;
  tensor_view view() const noexcept {
    if (byte_offset != 0) return tensor_view(tensor(), read_only);
    return tensor_view(data, shape(), strides(), ndim, dtype, device, read_only);
  }
};

/// The type; null before `initialize_array_type`.
PyTypeObject* array_type() noexcept;

/// Finds or makes the type, which all binaries of the process share, and the private buffer exporter. False with an error set.
bool initialize_array_type() noexcept;

inline array_object* as_array(PyObject* object) noexcept {
  return reinterpret_cast<array_object*>(object);
}

/// A new Array around memory that `keep` keeps alive, ordered on `stream`. Empty with an error set.
ref make_array(const tensor_view& view, owner keep, bool copied,
               stream_handle stream = {}) noexcept;

/// An Array that hands memory to a framework whose function takes objects: exports share the memory as the
/// exchange decided, and are no exchanges of their own. Empty with an error set.
/// @throws device_error
ref make_transit_array(handed_over& out);

/// A managed tensor of an Array as it is, which keeps alive what the Array keeps. Orders nothing.
/// @throws std::bad_alloc
managed_tensor share_array(PyObject* array);

/// Brings the order of an Array of device memory up to date: work that its source has enqueued since
/// comes before later work on the Array's stream. What is on `consumer`, where the Array goes, needs no
/// order. False with an error set.
/// @throws device_error
bool renew_order(array_object* self, stream_handle consumer);

/// The same elements in memory of their own, counted as a copy. Empty with an error set.
ref fresh_copy(PyObject* array);

/// The row of `dlpack_bridge.Array` as a target.
target_row& array_target() noexcept;

// Parts of the type, by file.

/// `Array.__dlpack__`, vectorcall; array_export.cpp.
PyObject* array_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);
/// `Array.__dlpack_device__`; array_export.cpp.
PyObject* array_dlpack_device(PyObject* self, PyObject*);
/// What an Array gives to an unknown DLPack consumer; array_export.cpp. torch <= 2.13 aborts the process on
/// negative strides (pytorch#188023), so they are only given to who forbids the copy. What is in transit goes
/// as the exchange decided that made it.
const target_row& consumer_of(const array_object* self, bool versioned,
                              bool negative_strides) noexcept;
/// The table behind `Array.__dlpack_c_exchange_api__`; array_table.cpp.
const DLPackExchangeAPI* array_exchange_api() noexcept;
/// `Array.__array_interface__`, `__cuda_array_interface__`; array_export.cpp.
PyObject* array_interface(PyObject* self, void*);
PyObject* cuda_array_interface(PyObject* self, void*);

/// `Array.__array__`, `__iter__`, `__bool__`: its values on the host, by NumPy; array_values.cpp.
PyObject* array_as_numpy(PyObject* self, PyObject* args, PyObject* kwargs);
PyObject* array_iterator(PyObject* self);
int array_truth(PyObject* self);
/// False with ExchangeError set, which ends in `remedy`, for an Array that is not in host memory.
bool check_on_host(PyObject* self, const char* remedy) noexcept;

/// `Array.memoryview()`, `tobytes()`, pickling; array_buffer.cpp.
bool initialize_exporter_type() noexcept;
PyObject* array_memoryview(PyObject* self, PyObject*);
PyObject* array_tobytes(PyObject* self, PyObject*);
PyObject* array_reduce_ex(PyObject* self, PyObject* protocol);
/// The module function that pickles name: (buffer, (code, bits, lanes), shape, readonly) -> Array.
PyObject* rebuild_array(PyObject* module, PyObject* args);

/// A tuple of ints.
ref tuple_of(const extent* values, std::int32_t count, std::int64_t factor = 1) noexcept;

}  // namespace dlpack_bridge::python
