#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor use() { return make_tensor({1, 3}, float32); }
