#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

void use(const array<float, 1>& x) { x[0] = 1; }
