#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

constexpr dtype type = dtype_for<float>;
