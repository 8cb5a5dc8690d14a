#include <dlpack_bridge/counters.hpp>

namespace dlpack_bridge {
namespace {

counters own;  // never destroyed: arrays may be released while statics die

}  // namespace

constinit counters* detail::counters_in_use = &own;

void use_counters(counters& shared) noexcept { detail::counters_in_use = &shared; }

}  // namespace dlpack_bridge
