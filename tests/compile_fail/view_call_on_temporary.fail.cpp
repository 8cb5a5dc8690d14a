#include <dlpack_bridge/managed_tensor.hpp>

using namespace dlpack_bridge;

managed_tensor produce();

int use() { return produce().view().ndim(); }
