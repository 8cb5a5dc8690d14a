#pragma once

#include <dlpack_bridge/negotiation.hpp>

namespace dlpack_bridge {

/// The part of `negotiate` that judges streams: what waits for what, and what a capture or a stream of
/// another device forbids. Nothing for host memory, and nothing without a driver. Pure.
void judge_streams(decision& d, const description& source, const requirements& wanted,
                   const capabilities& target) noexcept;

}  // namespace dlpack_bridge
