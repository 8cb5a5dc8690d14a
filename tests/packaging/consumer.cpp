// The smallest program that needs the headers, dlpack.h and the archive.
#include <vector>

#include <dlpack_bridge/dlpack_bridge.hpp>

int main() {
  dlpack_bridge::managed_tensor tensor = dlpack_bridge::share(std::vector<float>{1, 2, 3});
  const bool right = tensor.view().ndim() == 1 && dlpack_bridge::live_managed_tensors() == 1;
  tensor.reset();
  return right && dlpack_bridge::live_managed_tensors() == 0 ? 0 : 1;
}
