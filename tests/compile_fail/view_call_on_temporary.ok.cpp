#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor produce();

int use() {
  const managed_tensor owner = produce();
  return owner.view().ndim();
}
