#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

std::span<float> use(const array<float, 1>& made) { return made.span(); }
