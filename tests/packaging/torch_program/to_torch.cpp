// Arrays on their way into torch. The adapter's header comes first here, torch's dlpack.h after it.
#include <ATen/dlpack.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "check.hpp"
#include <dlpack_bridge/adapters/torch.hpp>

using namespace dlpack_bridge;
using why = reason_code;

namespace {

constexpr dtype float8_e3m4(kDLFloat8_e3m4, 8);

managed_tensor array_of(std::unique_ptr<watched> memory, const extent_list& shape,
                        const extent_list& strides, int first = 0, bool read_only = false) {
  float* const data = memory->values + first;
  return share(data, shape, strides, float32, std::move(memory), {}, read_only);
}
managed_tensor six(bool read_only = false) {
  return array_of(std::make_unique<watched>(), {2, 3}, {}, 0, read_only);
}
managed_tensor backwards() { return array_of(std::make_unique<watched>(), {4}, {-1}, 3); }

managed_tensor unaligned() {
  auto memory = std::make_unique<watched>();
  char* const data = reinterpret_cast<char*>(memory->values) + 1;
  return share(data, {3}, {}, float32, std::move(memory));
}

}  // namespace

CASE("an array is shared with torch") {
  managed_tensor array = six();
  void* const data = array.view().data();
  const at::Tensor t = to_torch(std::move(array), {.copy = copy_policy::never});
  check(t.data_ptr() == data && t.scalar_type() == at::kFloat && t.is_cpu());
  check(t.sizes() == at::IntArrayRef({2, 3}) && t.strides() == at::IntArrayRef({3, 1}));
  check(t.storage_offset() == 0 && t.storage().nbytes() == 24);
  check(t.sum().item<float>() == 15);
}

CASE("strides that torch has are kept") {
  const at::Tensor t = to_torch(array_of(std::make_unique<watched>(), {2, 3}, {1, 8}));
  check(t.strides() == at::IntArrayRef({1, 8}) && t[1][2].item<float>() == 17);
  check(t.storage().nbytes() == 18 * 4);
}

CASE("negative strides are copied before torch sees them") {
  const at::Tensor t = to_torch(backwards());
  check(at::equal(t, at::tensor({3.0f, 2.0f, 1.0f, 0.0f})));
  check(refusal([] { to_torch(backwards(), {.copy = copy_policy::never}); }) ==
        codes{why::negative_stride});
}

CASE("memory that must not be written is copied, shared or refused as asked") {
  managed_tensor array = six(true);
  void* const data = array.view().data();
  check(to_torch(six(true)).data_ptr() != data);
  check(refusal([] { to_torch(six(true), {.copy = copy_policy::never}); }) == codes{why::readonly});
  check(refusal([] { to_torch(six(true), {.readonly = readonly_policy::error}); }) ==
        codes{why::readonly});
  check(to_torch(std::move(array), {.readonly = readonly_policy::share}).data_ptr() == data);
}

CASE("elements that overlap are copied") {
  const at::Tensor t = to_torch(array_of(std::make_unique<watched>(), {2, 3}, {0, 1}));
  t[0][0] = 9.0f;
  check(t[1][0].item<float>() == 0);
}

CASE("unaligned memory is copied on its way in") {
  check(refusal([] { to_torch(unaligned(), {.copy = copy_policy::never}); }) ==
        codes{why::alignment});
  check(reinterpret_cast<std::uintptr_t>(to_torch(unaligned()).data_ptr()) % 64 == 0);
}

CASE("arrays without axes and without elements get through") {
  check(to_torch(array_of(std::make_unique<watched>(), {}, {}, 7)).item<float>() == 7);
  const at::Tensor empty = to_torch(array_of(std::make_unique<watched>(), {0, 3}, {}));
  check(empty.numel() == 0 && empty.size(1) == 3);
  const int before = watched::dropped;
  {
    const at::Tensor null = to_torch(share(nullptr, {0}, {}, int64, std::make_unique<watched>()));
  }
  check(watched::dropped == before + 1);
}

CASE("element types that torch lacks are refused") {
  const auto pass = [](dtype type) { return refusal([&] { to_torch(make_tensor({4}, type)); }); };
  check(pass(float8_e3m4) == codes{why::dtype});
  check(pass(dtype(kDLFloat6_e2m3fn, 6)) == codes{why::dtype});
  check(pass(dtype(kDLFloat, 32, 4)) == codes{why::lanes});
  check(to_torch(make_tensor({4}, float8_e3m4), {.bits = true}).scalar_type() == at::kByte);
}

CASE("devices that this torch lacks are refused") {
  const requirements on_cuda{.device = device(kDLCUDA)};
  const codes found = refusal([&] { to_torch(six(), on_cuda); });
  check(std::ranges::find(found, why::device) != found.end());
  const std::string text = refusal_words([&] { to_torch(six(), on_cuda); });
  check(text.find("torch cannot hold arrays on cuda:0 here") != std::string::npos);
}

CASE("an array that is not there is refused") {
  check(refusal([] { to_torch(managed_tensor()); }) == codes{why::malformed});
}

CASE("torch computes with what it was given") {
  at::Tensor t = to_torch(six()).requires_grad_(true);
  const at::Tensor sum = t.mul(t).sum();
  sum.backward();
  check(at::equal(t.grad(), t.detach().mul(2)));
}

CASE("torch cannot resize what it does not own") {
  const at::Tensor t = to_torch(six());
  bool refused = false;
  try {
    t.resize_({100});
  } catch (const c10::Error&) {
    refused = true;
  }
  check(refused && t.storage().nbytes() == 24);
}
