#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

float use(array<float, 2>& x) { return x(0); }
