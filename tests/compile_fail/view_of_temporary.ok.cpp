#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor produce();

void use() {
  const managed_tensor owner = produce();
  const tensor_view view(owner);
}
