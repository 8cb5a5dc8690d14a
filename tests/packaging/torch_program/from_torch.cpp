// Tensors on their way out: what is shared, copied and refused. torch's own dlpack.h comes first here.
#include <cstring>

#include <ATen/FunctionalTensorWrapper.h>
#include <ATen/core/grad_mode.h>
#include <ATen/dlpack.h>
#include <ATen/ops/_efficientzerotensor.h>
#include <ATen/ops/_nested_tensor_from_tensor_list.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/quantize_per_tensor.h>

#include "check.hpp"
#include <dlpack_bridge/adapters/torch.hpp>

using namespace dlpack_bridge;
using why = reason_code;

namespace {

requirements never() { return {.copy = copy_policy::never}; }
requirements detaching() { return {.detach = true}; }

// What keeps the tensor from being shared, whether a copy would help or not.
codes codes_of(const at::Tensor& t) {
  return refusal([&] { from_torch(t, never()); });
}
codes blockers_of(const at::Tensor& t) {
  return refusal([&] { from_torch(t); });
}

float float_at(const managed_tensor& array, int index) {
  const tensor_view view = array.view();
  return static_cast<const float*>(view.data())[index];
}

at::Tensor matrix() { return at::arange(12, at::kFloat).reshape({3, 4}); }
at::Tensor complex_numbers() {
  return at::complex(at::arange(3, at::kFloat), at::ones({3}, at::kFloat));
}

}  // namespace

CASE("a tensor is shared with shape, strides and type") {
  const at::Tensor t = matrix();
  const managed_tensor array = from_torch(t);
  const tensor_view view = array.view();
  check(view.data() == t.data_ptr() && view.dtype() == float32 && view.device() == device());
  check(view.ndim() == 2 && view.shape(0) == 3 && view.shape(1) == 4);
  check(view.strides()[0] == 4 && view.strides()[1] == 1);
  check(!array.read_only() && !array.is_copied() && live_managed_tensors() == 1);
}

CASE("a view is shared where it begins, with its strides") {
  const at::Tensor t = matrix().t().slice(0, 1);  // 3 x 3, one element in
  const managed_tensor array = from_torch(t, never());
  const tensor_view view = array.view();
  check(view.data() == t.data_ptr() && view.strides()[0] == 1 && view.strides()[1] == 4);
}

CASE("every element type keeps its name and its bytes") {
  for (const auto type : {at::kBool,
                          at::kByte,
                          at::kChar,
                          at::kShort,
                          at::kInt,
                          at::kLong,
                          at::kUInt16,
                          at::kUInt32,
                          at::kUInt64,
                          at::kHalf,
                          at::kBFloat16,
                          at::kFloat,
                          at::kDouble,
                          at::kComplexHalf,
                          at::kComplexFloat,
                          at::kComplexDouble,
                          at::kFloat8_e4m3fn,
                          at::kFloat8_e4m3fnuz,
                          at::kFloat8_e5m2,
                          at::kFloat8_e5m2fnuz,
                          at::kFloat8_e8m0fnu,
                          at::kFloat4_e2m1fn_x2}) {
    const at::Tensor t = at::empty({2, 5}, type);
    managed_tensor array = from_torch(t, never());
    const tensor_view view = array.view();
    check(view.nbytes() == static_cast<std::int64_t>(t.nbytes()));
    const at::Tensor back = to_torch(std::move(array), never());
    check(back.scalar_type() == type && back.data_ptr() == t.data_ptr());
    check(back.sizes() == t.sizes() && back.strides() == t.strides());
  }
}

CASE("expanded elements are shared read-only") {
  const managed_tensor array = from_torch(at::ones({1, 3}).expand({4, 3}), never());
  check(array.read_only());
}

CASE("tensors without axes and without elements are shared") {
  const managed_tensor scalar = from_torch(at::ones({}), never());
  const managed_tensor empty = from_torch(at::empty({0, 3}), never());
  check(scalar.view().ndim() == 0 && empty.view().size() == 0 && empty.view().shape(1) == 3);
}

CASE("lazy bits are resolved in a copy") {
  const at::Tensor conjugated = complex_numbers().conj();
  check(codes_of(conjugated) == codes{why::conj});
  const managed_tensor array = from_torch(conjugated);
  check(array.is_copied() && float_at(array, 3) == -1 && float_at(array, 2) == 1);
  const at::Tensor opposite = at::imag(conjugated);
  check(codes_of(opposite) == codes{why::neg});
  check(float_at(from_torch(opposite), 0) == -1);
  const at::Tensor both = opposite.resolve_neg();
  check(codes_of(both).empty());
}

CASE("what is asked for is carried out") {
  const at::Tensor t = matrix();
  const managed_tensor wide = from_torch(t, {.dtype = float64});
  check(wide.view().dtype() == float64 && wide.is_copied());
  const managed_tensor fresh = from_torch(t, {.copy = copy_policy::always});
  check(fresh.view().data() != t.data_ptr() && float_at(fresh, 5) == 5);
  const managed_tensor dense = from_torch(t.t(), {.c_order = true});
  check(dense.view().is_c_contiguous() && float_at(dense, 1) == 4);
  const managed_tensor bits = from_torch(t, {.bits = true});
  check(bits.view().dtype() == uint32 && bits.view().data() == t.data_ptr());
}

CASE("unaligned memory is copied") {
  alignas(8) char bytes[9] = {};
  const at::Tensor t = at::from_blob(bytes + 1, {2}, at::kFloat);
  check(codes_of(t) == codes{why::alignment});
  check(from_torch(t).is_copied());
}

CASE("autograd is refused where it records") {
  const at::Tensor t = at::ones({3}).requires_grad_(true);
  const at::Tensor result = t.mul(2);
  check(blockers_of(t) == codes{why::requires_grad});
  check(blockers_of(result) == codes{why::requires_grad});
  const managed_tensor values = from_torch(result, detaching());
  check(values.view().data() == result.data_ptr());
  const at::NoGradGuard nobody_records;
  check(blockers_of(result).empty());
}

CASE("what has no plain memory is refused by name") {
  check(blockers_of(at::Tensor()) == codes{why::malformed});
  check(blockers_of(at::eye(3).to_sparse()) == codes{why::sparse});
  check(blockers_of(at::eye(3).to_sparse_csr()) == codes{why::sparse});
  check(blockers_of(at::empty({3}, at::kMeta)) == codes{why::meta});
  check(blockers_of(at::_efficientzerotensor({3}, at::kFloat)) == codes{why::malformed});
  check(blockers_of(at::quantize_per_tensor(at::ones({3}), 0.1, 0, at::kQUInt8)) ==
        codes{why::quantized});
  check(blockers_of(at::_nested_tensor_from_tensor_list({at::ones({2}), at::ones({3})})) ==
        codes{why::nested});
  check(blockers_of(at::functionalization::impl::to_functional_tensor(at::ones({3}))) ==
        codes{why::functional});
}

CASE("memory that was taken away is refused") {
  const at::Tensor t = at::ones({3});
  t.storage().set_nbytes(0);
  t.storage().set_data_ptr(at::DataPtr());
  check(blockers_of(t) == codes{why::malformed});
}

CASE("element types that DLPack lacks are refused with their width") {
  check(blockers_of(at::empty({4}, at::ScalarType::Int4)) == codes{why::dtype});
  check(blockers_of(at::empty({4}, at::ScalarType::Bits8)) == codes{why::dtype});
  const std::string text = refusal_words([] { from_torch(at::empty({4}, at::ScalarType::UInt3)); });
  check(text.find("torch.uint3 (code=1, bits=3, lanes=1)") != std::string::npos);
}

CASE("a refusal names every blocker") {
  const at::Tensor t = at::eye(3).requires_grad_(true).to_sparse();
  check(blockers_of(t) == (codes{why::requires_grad, why::sparse}));
  const std::string text = refusal_words([&] { from_torch(t); });
  check(text.find("dtype float32, shape (3, 3)") != std::string::npos);
  check(text.find("pass detach=True") != std::string::npos);
  check(text.find("torch.sparse_coo") != std::string::npos);
}

CASE("more axes than the hub has are refused") {
  check(blockers_of(at::empty(std::vector<std::int64_t>(65, 1))) == codes{why::layout});
}
