#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

array<float, 1> make();
std::span<float> use() { return make().span(); }
