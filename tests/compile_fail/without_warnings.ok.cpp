// The headers and what the documentation writes are silent in a project that warns of everything.
#include <dlpack_bridge/dlpack_bridge.hpp>

using namespace dlpack_bridge;

managed_tensor use(managed_tensor t) {
  return exchange(std::move(t), requirements{.detach = true});
}

float use(const array<const float, 2>& x) {
  const array<const float> any = x;
  float sum = 0;
  for (const float value : any) sum += value;
  return sum + any.at(0, 0);
}
