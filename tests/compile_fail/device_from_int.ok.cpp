#include <dlpack_bridge/device.hpp>

using namespace dlpack_bridge;

void take(device);

void use() { take(device(kDLCPU)); }
