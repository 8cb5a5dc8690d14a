// The same function with torch's own caster, which takes the tensor out of its Python object: nothing is
// checked by it, and the extension serves this release of torch only.

#include <torch/extension.h>

namespace {

volatile float seen;

void take(const at::Tensor& x) {
  if (x.numel() > 0) seen = *x.data_ptr<float>();
}

}  // namespace

PYBIND11_MODULE(torch_peer, m) { m.def("take", take); }
