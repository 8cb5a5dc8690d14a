#include <dlpack_bridge/exchange.hpp>

using namespace dlpack_bridge;

description use() { return describe(make_tensor({2}, float32)); }
