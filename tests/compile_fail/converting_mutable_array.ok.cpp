#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

float use(array<const float, 1, converting>& x) { return x[0]; }
