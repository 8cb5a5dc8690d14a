// A CUDA kernel behind functions that take and return arrays of torch, CuPy, JAX, ...

#include <stdexcept>

#include <pybind11/pybind11.h>

#include "kernels.hpp"
#include <dlpack_bridge/adapters/pybind11.hpp>
#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/exchange.hpp>

namespace py = pybind11;
using namespace dlpack_bridge;

namespace {

using vector = array<float, 1, c_contiguous, on_cuda>;
using const_vector = array<const float, 1, c_contiguous, on_cuda>;

// Kernels run on the current device: make it the one that the memory is on.
class on_device {
 public:
  explicit on_device(device where) {
    cudaGetDevice(&before_);
    cudaSetDevice(where.id);
  }
  on_device(const on_device&) = delete;
  on_device& operator=(const on_device&) = delete;
  ~on_device() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

void check_launch() {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// In place. What the caller has enqueued comes before the kernel, because `x.stream()` is ordered after
// it; for torch it is torch's own current stream.
void scale(vector x, float factor) {
  const on_device current(x.device());
  launch_scale(x.data(), x.size(), factor, x.stream());
  check_launch();
}

// Two arguments may come on two streams: exchange orders the second one for the stream of the first.
result_like add(const_vector a, const_vector b) {
  if (a.size() != b.size() || a.device() != b.device()) {
    throw std::invalid_argument("add: two vectors of one size on one device");
  }
  const on_device current(a.device());
  const const_vector second(exchange(share(b), {.stream = a.stream_number()}));
  managed_tensor sum = make_tensor({a.size()}, float32, a.device(), a.stream_number());
  launch_add(a.data(), second.data(), static_cast<float*>(sum.view().data()), a.size(), a.stream());
  check_launch();
  return like(a, std::move(sum));  // torch in, torch out, ordered for the caller
}

}  // namespace

PYBIND11_MODULE(gpu_tools, m) {
  cuda::use();  // before the first exchange
  m.def("scale", scale, py::arg("x"), py::arg("factor"));
  m.def("add", add, py::arg("a"), py::arg("b"));
}
