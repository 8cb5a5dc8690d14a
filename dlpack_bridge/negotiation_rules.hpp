#pragma once

#include <algorithm>
#include <cstdint>

#include <dlpack_bridge/negotiation.hpp>

// What `negotiate` judges by and its words ask again: each question has one answer. Pure.

namespace dlpack_bridge {

/// The multiple that the first element's address must be. The bits of a complex number are one integer,
/// which aligns to more than its parts do.
inline std::int64_t needed_alignment(const description& s, const requirements& r,
                                     const capabilities& t) noexcept {
  const dlpack_bridge::dtype from = s.view.dtype();
  const dlpack_bridge::dtype element = r.bits ? bits_of(from).value_or(from) : from;
  const std::int64_t natural = s.has_dtype ? alignment_of(element) : 1;
  return std::max(natural, std::max(r.alignment, t.alignment));
}

}  // namespace dlpack_bridge
