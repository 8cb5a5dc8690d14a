#pragma once

// The whole core. It needs the standard library and dlpack.h only.
#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/capabilities.hpp>
#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/element_types.hpp>
#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/layout.hpp>
#include <dlpack_bridge/managed_tensor.hpp>
#include <dlpack_bridge/negotiation.hpp>
#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/reason.hpp>
#include <dlpack_bridge/stream_handle.hpp>
#include <dlpack_bridge/tensor_view.hpp>
#include <dlpack_bridge/version.hpp>
