#include <dlpack_bridge/adapters/torch.hpp>

#include <cstddef>
#include <string>
#include <utility>

#include <ATen/ops/from_blob.h>

#include <dlpack_bridge/adapters/torch_dtype.hpp>
#include <dlpack_bridge/adapters/torch_facts.hpp>
#include <dlpack_bridge/adapters/torch_stream.hpp>

namespace dlpack_bridge {
namespace {

using namespace torch_adapter;

// ---- into torch ------------------------------------------------------------------------------

// The row of torch with what this build of it has on the host.
capabilities complete_capabilities() {
  capabilities row = capabilities_of(framework::torch);
  for (int i = 0; i < known_dtypes; ++i) {
    const auto id = static_cast<dtype_id>(i);
    if (!scalar_of_dtype(dtype_of(id))) row.dtypes = row.dtypes.without(dtype_set(id));
  }
  return row;
}

// With CUDA where this process has it. Only who works on it needs to know, since CUDA's runtime is
// started to find out.
const capabilities& torch_capabilities(bool on_cuda) {
  static const capabilities host = complete_capabilities();
  if (!on_cuda) return host;
  static const capabilities all = [] {
    capabilities row = host;
    if (has_cuda()) row.devices.add(kDLCUDA);
    return row;
  }();
  return all;
}

// What an array is used on: the CUDA device that the caller named, else the device that it is on.
device device_of_use(device where, const requirements& wanted) {
  const bool named = wanted.device && needs_cuda(wanted.device->type);
  return named ? *wanted.device : where;
}

void release_array(void* managed) {
  auto* array = static_cast<DLManagedTensorVersioned*>(managed);
  array->deleter(array);
}

at::Tensor wrap_as_tensor(managed_tensor made) {
  const tensor_view view = made.view();
  const auto ndim = static_cast<std::size_t>(view.ndim());
  const at::IntArrayRef shape(view.shape().data(), ndim), strides(view.strides(), ndim);
  const c10::Device where = torch_device(view.device());
  const auto options = at::TensorOptions(*scalar_of_dtype(view.dtype())).device(where);
  // From `context` on the maker owns the array, then the storage, which all views share.
  return at::for_blob(view.data(), shape)
      .strides(strides)
      .options(options)
      .target_device(where)
      .context(std::move(made).release(), release_array)
      .make_tensor();
}

}  // namespace

managed_tensor from_torch(at::Tensor tensor, const requirements& wanted) {
  tensor_facts facts;
  description& d = facts.desc;
  describe_tensor(tensor, wanted, facts);
  // Who takes the array without naming a stream works on the array's, which is torch's.
  if (!wanted.stream.known() && !wanted.device) d.streams.consumer = d.streams.producer;
  find_facts(d, wanted);
  const capabilities& target = capabilities_of(framework::cpp);
  const decision decided = negotiate(d, wanted, target);
  if (decided.action == action::refuse) {
    const std::vector<reason> blockers = explain_all(decided.blockers, d, wanted, target);
    throw exchange_error(refusal_text(blockers, d, target), blockers);
  }
  // An alias has the tensor's memory of now; `set_data` and `set_` give the tensor other memory. Shape and
  // strides are the tensor's, which is let go on return.
  const at::Tensor described = std::move(tensor);
  owner source = owner::of(described.variable_data());
  const use_listener listener{source.get(), declare_use};
  extent room[most_held_axes];
  handed_over out = hand_over(d, decided, source, {.listener = listener}, room);
  managed_tensor result = managed_tensor::wrap(out.view, std::move(out.keep), out.flags);
  // Without a driver nothing was ordered: the result carries torch's stream.
  const bool carried = !out.stream.known() && !decided.copies_here;
  result.set_stream(carried ? d.streams.producer.handle : out.stream);
  return result;
}

at::Tensor to_torch(managed_tensor array, const requirements& wanted) {
  if (!array) {
    const std::string text = "the array is malformed: the managed tensor is empty; pass an array";
    throw exchange_error(text, {{reason_code::malformed, text}});
  }
  const device use = device_of_use(array.view().device(), wanted);
  const capabilities& target = torch_capabilities(needs_cuda(use.type));
  requirements asked = wanted;
  // Where torch will use the result, unless the caller has said it.
  if (!asked.stream.known() && target.devices.contains(kDLCUDA)) {
    asked.stream = current_stream(torch_device(use));
  }
  return wrap_as_tensor(exchange(std::move(array), asked, target));
}

}  // namespace dlpack_bridge
