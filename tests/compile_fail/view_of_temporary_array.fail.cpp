#include <dlpack_bridge/array.hpp>

using namespace dlpack_bridge;

array<float> make();
tensor_view use() { return make().view(); }
