#include <memory>

#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor lend(std::shared_ptr<float[]> owner) {
  return share(owner.get(), {3, 4}, {}, float32);
}
