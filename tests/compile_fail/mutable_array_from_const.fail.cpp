#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

array<float> use(const array<const float>& x) { return x; }
