#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

void use(array<float, 1, converting>& x) { x[0] = 1; }
