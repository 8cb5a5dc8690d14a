#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

float use(array<float, 1, on_cuda>& x) { return x(0); }
