#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

array<const float> use(const array<float>& x) { return x; }
