#include <dlpack_bridge/python/torch_stream.hpp>

#include <memory>

#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/torch_library.hpp>

namespace dlpack_bridge::python {
namespace {

const torch_library& lib = torch_lib();

// A tensor on a device: its export, and the object that can note who uses the memory.
struct device_tensor {
  owner exported;
  owner object;
  PyObject* tensor;
  const void* data;
};

// torch.cuda knows no per-thread default stream; its own default is the legacy one.
ref stream_object(device where, stream_handle stream) noexcept {
  const ref cuda = attribute_or_none(lib.module, "cuda");
  if (!cuda) return {};
  if (stream.is_legacy()) {
    return ref::steal(PyObject_CallMethod(cuda.get(), "default_stream", "i", where.id));
  }
  const ref external = attribute_or_none(cuda.get(), "ExternalStream");
  if (!external) return {};
  return ref::steal(PyObject_CallFunction(external.get(), "Li",
                                          static_cast<long long>(stream.protocol()), where.id));
}

bool answers_true(PyObject* object, const char* method) noexcept {
  const ref answer =
      object == nullptr ? ref() : ref::steal(PyObject_CallMethod(object, method, nullptr));
  PyErr_Clear();
  return answer.get() == Py_True;
}

// Memory of torch's own allocator can be resized; for what others made record_stream does nothing.
bool is_torchs_own(PyObject* tensor) noexcept {
  const ref storage = ref::steal(PyObject_CallMethod(tensor, "untyped_storage", nullptr));
  PyErr_Clear();
  return answers_true(storage.get(), "resizable");
}

bool has_address(PyObject* tensor, const void* data) noexcept {
  const ref address = ref::steal(PyObject_CallMethod(tensor, "data_ptr", nullptr));
  const bool same =
      address && PyLong_Check(address.get()) && PyLong_AsVoidPtr(address.get()) == data;
  PyErr_Clear();
  return same;
}

// True when nobody but the hub holds the tensor object: what is dropped now is given back now. The
// export counts as a holder of it, and is not needed while the object has the same memory.
bool is_last(device_tensor& kept) noexcept {
  if (!has_address(kept.tensor, kept.data) || !is_torchs_own(kept.tensor)) return false;
  kept.exported.reset();
  return Py_REFCNT(kept.tensor) == 1;
}

// torch's allocator waits for the streams that a tensor was recorded on before it hands the memory
// out again (Tensor.record_stream, c10/cuda/CUDACachingAllocator.cpp). It remembers their handles
// until then, so it is only told when the memory is given back at once: a stream may not live as long
// as a tensor that others hold.
bool declare_use(void* context, device where, stream_handle stream) noexcept {
  if (stream.per_thread() || !Py_IsInitialized() || PyGILState_Check() == 0) return false;
  auto& kept = *static_cast<device_tensor*>(context);
  PyObject* const tensor = kept.tensor;
  const error_guard guard;
  const without_torch_function plain;
  if (!is_last(kept)) return false;
  const ref object = stream_object(where, stream);
  const ref noted =
      object ? ref::steal(PyObject_CallMethod(tensor, "record_stream", "O", object.get())) : ref();
  if (!noted) PyErr_Clear();
  return static_cast<bool>(noted);
}

}  // namespace

owner keep_device_tensor(owner exported, PyObject* tensor, const void* data,
                         use_listener& listener) {
  auto kept =
      std::make_unique<device_tensor>(std::move(exported), own_object(tensor), tensor, data);
  listener = {kept.get(), declare_use};
  return owner(kept.release(),
               [](void* dying) noexcept { delete static_cast<device_tensor*>(dying); });
}

stream_handle torch_work_stream(device where) noexcept {
  void* handle = nullptr;
  if (lib.api != nullptr && lib.api->current_work_stream != nullptr) {
    if (lib.api->current_work_stream(kDLCUDA, where.id, &handle) == 0) {
      return stream_handle::from_native(handle);
    }
    PyErr_Clear();
    return {};
  }
  const ref cuda = attribute_or_none(lib.module, "cuda");
  const ref stream =
      cuda ? ref::steal(PyObject_CallMethod(cuda.get(), "current_stream", "i", where.id)) : ref();
  const ref number = stream ? attribute_or_none(stream.get(), "cuda_stream") : ref();
  if (number && PyLong_Check(number.get())) handle = PyLong_AsVoidPtr(number.get());
  const bool known = number && !PyErr_Occurred();
  PyErr_Clear();
  return known ? stream_handle::from_native(handle) : stream_handle();
}

}  // namespace dlpack_bridge::python
