#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

float use(array<float, 1, on_cpu, on_any>& x) { return *x.data(); }
