#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

struct point {
  float x, y;
};
constexpr dtype type = dtype_for<point>;
