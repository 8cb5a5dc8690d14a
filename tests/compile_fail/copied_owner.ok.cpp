#include <utility>

#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor hand_over(managed_tensor& owner) { return managed_tensor(std::move(owner)); }
