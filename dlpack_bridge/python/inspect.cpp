#include <dlpack_bridge/python/inspect.hpp>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

// Describes an object for a look: no requirement, the target that takes everything.
bool look_at(inbound& in, decision& decided) {
  in.mode = look::borrow;
  requirements wanted;
  wanted.copy = copy_policy::always;  // no identity: the facts are wanted, not the answer
  if (!describe(in, wanted)) return false;
  decided = judge(in, wanted);
  return true;
}

// torch's CPU tensors have `__cuda_array_interface__` too, and it raises; an Array has the one that fits its
// memory and dtype.
std::vector<std::string> protocols_of(PyObject* x, bool on_cuda) {
  PyTypeObject* const type = Py_TYPE(x);
  std::vector<std::string> found;
  const auto has = [&](const char* name) {
    if (type == array_type()) return static_cast<bool>(attribute_or_none(x, name));
    const ref text = ref::steal(PyUnicode_FromString(name));
    return text && type_attribute(type, text.get()) != nullptr;
  };
  if (exchange_api_of(type) != nullptr) found.emplace_back("dlpack_c_exchange_api");
  if (has("__dlpack__")) found.emplace_back("dlpack");
  if (type == &PyCapsule_Type) found.emplace_back("dlpack_capsule");
  if (type->tp_as_buffer != nullptr && type->tp_as_buffer->bf_getbuffer != nullptr) {
    found.emplace_back("buffer");
  }
  if (has("__array_interface__")) found.emplace_back("array_interface");
  if (on_cuda && has("__cuda_array_interface__")) found.emplace_back("cuda_array_interface");
  return found;
}

std::int64_t alignment_of_address(const void* data) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return address == 0 ? 0 : static_cast<std::int64_t>(address & (~address + 1));
}

// The type has an interface, and its object may all the same have none: None or AttributeError.
bool has_interface(PyObject* x) noexcept {
  for (const char* name : {"__array_interface__", "__cuda_array_interface__"}) {
    const ref found = attribute_or_none(x, name);
    if (found && found.get() != Py_None) return true;
  }
  return false;
}

bool need_layout(const inbound& in, const decision& decided) {
  if (in.desc.has_layout) return true;
  requirements wanted;
  raise_decision(in, wanted, decided);
  return false;
}

}  // namespace

bool inspect(PyObject* x, array_facts& out) {
  inbound in(x, array_target());
  decision decided;
  if (!look_at(in, decided)) return false;
  const description& d = in.desc;
  out.framework = capabilities_of(d.source).name;
  if (d.has_dtype) out.dtype = d.view.dtype();
  if (d.has_device) out.device = d.view.device();
  const bool has_shape = d.has_layout || d.view.shape().data() != nullptr;
  if (has_shape) out.shape.assign(d.view.shape().begin(), d.view.shape().end());
  if (d.has_layout && !d.byte_strides) {
    std::vector<extent> strides(out.shape.size());
    if (d.view.strides() != nullptr) {
      strides.assign(d.view.strides(), d.view.strides() + d.view.ndim());
    } else {
      row_major_strides(out.shape, strides.data());
    }
    out.strides = std::move(strides);
  }
  out.readonly = d.view.read_only() || d.overlapping;
  out.protocols = protocols_of(x, d.has_device && needs_cuda(d.view.device().type));
  out.alignment = d.has_layout ? alignment_of_address(d.view.data()) : 0;
  d.state.for_each([&](reason_code code) { out.state.emplace_back(to_string(code)); });
  out.summary = summary(d);
  return true;
}

std::optional<bool> objects_share_memory(PyObject* a, PyObject* b) {
  inbound first(a, array_target()), second(b, array_target());
  if (!look_at(first) || !look_at(second)) return std::nullopt;
  switch (share_memory(first.desc, second.desc)) {
    case answer::yes: return true;
    case answer::no: return false;
    case answer::unknown: break;
  }
  PyErr_SetString(PyExc_ValueError,
                  "the layouts are too irregular for the bounded search: whether they share memory "
                  "is not known");
  return std::nullopt;
}

bool is_array(PyObject* x) noexcept {
  const type_entry* entry = entry_of(Py_TYPE(x));
  if (entry == nullptr) return false;
  const bool by_interface =
      entry->row == &array_interface_source || entry->row == &cuda_array_interface_source;
  return !by_interface || has_interface(x);
}

bool look_at(inbound& in) {
  decision decided;
  return look_at(in, decided) && need_layout(in, decided);
}

}  // namespace dlpack_bridge::python
