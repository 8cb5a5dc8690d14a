#pragma once

#include <optional>
#include <span>
#include <string>

#include <dlpack_bridge/negotiation.hpp>

// What the words of negotiation are made of.

namespace dlpack_bridge {

/// "(3, 4)", "(3,)"; a value that stands for any other is "*".
std::string tuple_text(std::span<const extent> values, std::optional<extent> any = {});

}  // namespace dlpack_bridge
