#include <dlpack_bridge/adapters/torch_facts.hpp>

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include <c10/core/GradMode.h>

#include <dlpack_bridge/adapters/torch_dtype.hpp>
#include <dlpack_bridge/adapters/torch_stream.hpp>
#include <dlpack_bridge/exchange.hpp>

namespace dlpack_bridge::torch_adapter {
namespace {

using why = reason_code;
using c10::DispatchKey;

// Wrappers of functorch and of functionalization: the memory, if there is some, is another tensor's.
constexpr c10::DispatchKeySet wrapper_keys(
    {DispatchKey::Functionalize, DispatchKey::FuncTorchBatched, DispatchKey::FuncTorchGradWrapper,
     DispatchKey::BatchedNestedTensor, DispatchKey::Batched});

bool is_wrapper(const at::Tensor& t) { return t.key_set().has_any(wrapper_keys); }

bool has_plain_storage(const at::Tensor& t) {
  return t.layout() == c10::kStrided && !is_wrapper(t) && !t.is_nested() && !t.is_quantized() &&
         !t.is_meta() && t.has_storage();
}

// As Python writes it; empty for one that this file does not know.
std::string_view layout_name(c10::Layout layout) {
  switch (layout) {
    case c10::kStrided: return "torch.strided";
    case c10::kSparse: return "torch.sparse_coo";
    case c10::kSparseCsr: return "torch.sparse_csr";
    case c10::kSparseCsc: return "torch.sparse_csc";
    case c10::kSparseBsr: return "torch.sparse_bsr";
    case c10::kSparseBsc: return "torch.sparse_bsc";
    case c10::kMkldnn: return "torch._mkldnn";
    default: return "unknown";
  }
}

// Shape, dtype and device for a message, without reading a pointer.
void describe_surface(const at::Tensor& t, tensor_facts& facts) {
  description& d = facts.desc;
  const std::optional<dtype> type = dtype_of_scalar(t.scalar_type());
  const std::optional<device> where = device_of(t.device());
  const bool has_shape = !t.is_nested() && !t.unsafeGetTensorImpl()->has_symbolic_sizes_strides();
  const at::IntArrayRef shape = has_shape ? t.sizes() : at::IntArrayRef();
  d.has_layout = false;
  d.has_dtype = type.has_value();
  d.has_device = where.has_value();
  d.view = tensor_view(nullptr, shape.data(), nullptr, static_cast<std::int32_t>(shape.size()),
                       type.value_or(dtype()), where.value_or(device()));
  if (!type) facts.name_dtype(python_name(t.scalar_type()));
}

void name_state(const at::Tensor& t, tensor_facts& facts) {
  reason_set& state = facts.desc.state;
  if (t.is_nested()) state.add(why::nested);
  if (t.is_quantized()) state.add(why::quantized);
  if (t.is_meta()) state.add(why::meta);
  if (is_wrapper(t)) state.add(why::functional);
  const std::string layout(layout_name(t.layout()));
  if (layout.starts_with("torch.sparse")) {
    facts.refuse(why::sparse, layout);
  } else if (layout != "torch.strided") {
    facts.refuse(why::subclass, "layout " + layout + "; pass x.to_dense()");
  }
}

void describe_unexportable(const at::Tensor& t, tensor_facts& facts) {
  describe_surface(t, facts);
  const reason_set before = facts.desc.state;
  name_state(t, facts);
  if (!(facts.desc.state == before) || !facts.desc.has_dtype) return;
  facts.refuse(why::malformed,
               t._is_zerotensor()
                   ? "a zero tensor has no storage; pass x.clone()"
                   : "data is NULL although the tensor has elements; give it storage");
}

// A FakeTensor shows the device that it stands for, and its storage is on none.
bool is_fake(const at::Tensor& t) {
  return t.has_storage() && !t.is_meta() &&
         t.unsafeGetTensorImpl()->unsafe_storage().device().is_meta();
}

// A subclass in Python that intercepts dispatch: all that c10 knows of it, fakes apart.
void describe_subclass(const at::Tensor& t, tensor_facts& facts) {
  describe_surface(t, facts);
  if (is_fake(t)) return facts.desc.state.add(why::fake);
  facts.refuse(why::subclass,
               "with __torch_dispatch__ it has no plain storage; pass its plain data");
}

void describe_memory(const at::Tensor& t, dtype type, void* data, tensor_facts& facts) {
  description& d = facts.desc;
  const std::optional<device> where = device_of(t.device());
  d.has_device = where.has_value();
  d.view = tensor_view(data, t.sizes().data(), t.strides().data(),
                       static_cast<std::int32_t>(t.dim()), type, where.value_or(device()));
  describe_layout(d);
  if (where && needs_cuda(where->type)) {
    stream_handle& stream = d.streams.producer.handle;
    stream = current_stream(t.device());
    if (!stream.known()) {
      facts.refuse(why::stream, "torch does not say which one it works on; link libtorch_cuda");
    }
  }
  if (t.is_neg()) d.state.add(why::neg);
  if (t.is_conj()) d.state.add(why::conj);
}

void describe_defined(const at::Tensor& t, const requirements& wanted, tensor_facts& facts) {
  // Autograd state is lost by every exchange; allowed when the caller says so or nobody records.
  if (t.requires_grad() && (wanted.detach || c10::GradMode::is_enabled())) {
    facts.desc.state.add(why::requires_grad);
  }
  if (t.key_set().has(DispatchKey::Python)) return describe_subclass(t, facts);
  const c10::ScalarType scalar = t.scalar_type();
  const std::optional<dtype> narrow = narrow_integer(scalar);
  const std::optional<dtype> type = narrow ? narrow : dtype_of_scalar(scalar);
  if (!type || !has_plain_storage(t)) return describe_unexportable(t, facts);
  void* const data = t.data_ptr();
  if (data == nullptr && t.numel() != 0) return describe_unexportable(t, facts);
  describe_memory(t, *type, data, facts);
  if (narrow) {
    facts.name_dtype(python_name(scalar) + " (code=" + std::to_string(type->code) +
                     ", bits=" + std::to_string(type->bits) + ", lanes=1)");
  }
}

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

void tensor_facts::refuse(reason_code code, const std::string& text) {
  desc.state.add(code);
  if (!note.empty()) note += "; ";
  note += text;
  desc.note = note;
}

void tensor_facts::name_dtype(std::string name) {
  dtype_name = std::move(name);
  desc.dtype_name = dtype_name;
  desc.has_dtype = false;
}

void tensor_facts::know_nothing() {
  desc.has_layout = desc.has_dtype = desc.has_device = false;
  desc.view = tensor_view();
}

void describe_tensor(const at::Tensor& tensor, const requirements& wanted, tensor_facts& facts) {
  facts.desc.source = framework::torch;
  if (!tensor.defined()) {
    facts.know_nothing();
    facts.refuse(why::malformed, "the tensor is undefined; pass one that has been made");
    return;
  }
  try {
    describe_defined(tensor, wanted, facts);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const c10::Error& error) {  // its what() is a stack trace
    facts.know_nothing();
    facts.refuse(why::producer, first_line(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    facts.know_nothing();
    facts.refuse(why::producer, first_line(error.what()));
  }
}

}  // namespace dlpack_bridge::torch_adapter
