#pragma once

#include <optional>
#include <span>
#include <string>

#include <dlpack_bridge/negotiation.hpp>

// What the words of negotiation are made of.

namespace dlpack_bridge {

/// "(3, 4)", "(3,)"; a value that stands for any other is "*".
std::string tuple_text(std::span<const extent> values, std::optional<extent> any = {});
/// "(4, 1)"; where there are no strides, those of dense rows.
std::string strides_text(const tensor_view& view);

/// A sentence that the source's note finishes: it names the case and its remedy.
std::string ends_in_note(const char* what, const description& source);

/// The sentences of the codes `dtype`, `stream`, `capture` and `driver`.
std::string dtype_text(const description& source, const requirements& wanted,
                       const capabilities& target);
std::string stream_text(const description& source, const requirements& wanted,
                        const capabilities& target);
std::string capture_text(const description& source);
std::string driver_text(const description& source, const requirements& wanted);

}  // namespace dlpack_bridge
