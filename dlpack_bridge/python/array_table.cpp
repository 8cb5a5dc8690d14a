// The DLPack C exchange API of Array.

#include <memory>
#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

// The table is for instances of its type; a stranger is an error and no crash.
bool is_array_object(void* object) noexcept {
  if (Py_TYPE(static_cast<PyObject*>(object)) == array_type()) return true;
  PyErr_Format(PyExc_TypeError, "expected a dlpack_bridge.Array, got %.200s",
               Py_TYPE(static_cast<PyObject*>(object))->tp_name);
  return false;
}

bool ordered_here(const array_object* self) noexcept {
  return needs_cuda(self->device.type) && cuda_status().answers();
}

// Who uses the table works on the stream that `current_work_stream` names: the hub's own.
DLManagedTensorVersioned* export_on_own_stream(PyObject* self) {
  requirements wanted;
  wanted.stream = cuda_backend()->own_stream(as_array(self)->device);
  wanted.readonly = readonly_policy::error;
  const target_row& row = consumer_of(as_array(self), true, true);
  const ref capsule = ref::steal(convert(self, row, wanted));
  return capsule ? take_versioned(capsule.get()) : nullptr;
}

int export_managed(void* object, DLManagedTensorVersioned** out) {
  if (!is_array_object(object)) return -1;
  try {
    auto* self = static_cast<PyObject*>(object);
    if (ordered_here(as_array(self))) {
      *out = export_on_own_stream(self);
      return *out == nullptr ? -1 : 0;
    }
    *out = share_array(self).release();
    return 0;
  } catch (...) {
    raise_current_exception();
    return -1;
  }
}

// A tensor that somebody gives away, unless taking it fails.
struct claimed_tensor {
  explicit claimed_tensor(DLManagedTensorVersioned* t) noexcept : tensor(t) {}
  ~claimed_tensor() {
    if (ours) own_managed(tensor);
  }
  DLManagedTensorVersioned* tensor;
  bool ours = false;
};

// On failure the tensor still belongs to the caller. The same judgement as everywhere: a layout that
// overlaps itself is read-only, an address that is not aligned means a copy. Its maker worked on the
// stream that `current_work_stream` names.
PyObject* import_checked(DLManagedTensorVersioned* tensor) {
  const requirements wanted;
  const capabilities& holds = array_target().holds;
  description d;
  describe_struct(d, tensor->dl_tensor, tensor->flags);
  find_facts(d, wanted);
  if (d.driver.answers() && needs_cuda(d.view.device().type)) {
    d.streams.producer.handle = cuda_backend()->own_stream(d.view.device());
  }
  const decision decided = negotiate(d, wanted, holds);
  if (decided.action == action::refuse) {
    const std::vector<reason> blockers = explain_all(decided.blockers, d, wanted, holds);
    raise_refusal(state().exchange_error, refusal_text(blockers, d, holds), blockers);
    return nullptr;
  }
  // The tensor becomes ours when nothing can fail any more.
  auto claim = std::make_unique<claimed_tensor>(tensor);
  claimed_tensor* const claimed = claim.get();
  owner keep = owner::of(std::move(claim));
  extent room[most_held_axes];
  handed_over out = hand_over(d, decided, keep, {}, room);
  ref made = make_array(out.view, std::move(out.keep), out.flags != 0, out.stream);
  if (made) claimed->ours = true;
  return made.release();
}

void refuse_import(reason_code code, const std::string& message) noexcept {
  raise_refusal(state().exchange_error, message, {{code, message}});
}

int import_managed(DLManagedTensorVersioned* tensor, void** out) {
  if (!is_readable(tensor->version)) {
    refuse_import(reason_code::version, "the managed tensor has another major version of DLPack");
    return -1;
  }
  if (const defect found = validate(tensor->dl_tensor); found != defect::none) {
    refuse_import(reason_code::malformed, to_string(found));
    return -1;
  }
  try {
    *out = import_checked(tensor);
  } catch (...) {
    raise_current_exception();
    return -1;
  }
  return *out == nullptr ? -1 : 0;
}

int borrow_tensor(void* object, DLTensor* out) {
  if (!is_array_object(object)) return -1;
  array_object* self = as_array(static_cast<PyObject*>(object));
  *out = self->tensor();
  if (!ordered_here(self)) return 0;
  try {
    // Borrowed for a call whose kernels run on the hub's own stream.
    const stream_handle own = cuda_backend()->own_stream(self->device);
    if (!renew_order(self, own)) return -1;
    if (self->stream.known() && !self->stream.no_sync()) {
      cuda_backend()->order(self->device, own, self->device, self->stream);
    }
    cuda_backend()->record_use(self->device, self->data, own, owner());
    return 0;
  } catch (...) {
    raise_current_exception();
    return -1;
  }
}

int allocate_like(DLTensor* prototype, DLManagedTensorVersioned** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message)) {
  const auto fail = [&](const char* kind, const char* message) {
    if (set_error != nullptr) set_error(error_context, kind, message);
    return -1;
  };
  const device where = prototype->device;
  const bool reachable =
      where.type == kDLCPU || (needs_cuda(where.type) && cuda_status().answers());
  if (!reachable) {
    return fail("BufferError",
                "dlpack_bridge allocates CPU memory here, and CUDA memory where a "
                "driver answers");
  }
  if (id_of(prototype->dtype) == dtype_id::unknown) {
    return fail("BufferError", "the element type is not known to this version");
  }
  if (prototype->ndim < 0 || prototype->ndim > most_plausible_axes ||
      (prototype->ndim > 0 && prototype->shape == nullptr)) {
    return fail("ValueError", "the prototype's shape is missing or has an impossible ndim");
  }
  try {
    const std::span<const extent> shape(prototype->shape,
                                        static_cast<std::size_t>(prototype->ndim));
    *out = make_tensor(extent_list(shape), dtype(prototype->dtype), where).release();
    return 0;
  } catch (const std::bad_alloc&) {
    return fail("MemoryError", "out of memory");
  } catch (const std::exception& error) {
    return fail("ValueError", error.what());
  }
}

// Host memory has none; NULL is the legacy default stream elsewhere.
int current_work_stream(DLDeviceType type, std::int32_t id, void** out) {
  *out = nullptr;
  if (!needs_cuda(type) || !cuda_status().answers()) return 0;
  try {
    const std::int64_t own = cuda_backend()->own_stream(device(type, id)).protocol();
    *out = reinterpret_cast<void*>(own);
    return 0;
  } catch (...) {
    raise_current_exception();
    return -1;
  }
}

}  // namespace

const DLPackExchangeAPI* array_exchange_api() noexcept {
  static const DLPackExchangeAPI table{
      .header = {exported_dlpack_version, nullptr},
      .managed_tensor_allocator = allocate_like,
      .managed_tensor_from_py_object_no_sync = export_managed,
      .managed_tensor_to_py_object_no_sync = import_managed,
      .dltensor_from_py_object_no_sync = borrow_tensor,
      .current_work_stream = current_work_stream,
  };
  return &table;
}

}  // namespace dlpack_bridge::python
