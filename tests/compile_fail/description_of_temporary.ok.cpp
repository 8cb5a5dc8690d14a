#include <dlpack_bridge/exchange.hpp>

using namespace dlpack_bridge;

description use(const managed_tensor& made) { return describe(made); }
