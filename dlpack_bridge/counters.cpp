#include <dlpack_bridge/counters.hpp>

namespace dlpack_bridge {
namespace {

// Never destroyed: arrays may be released while statics die.
counters own;
counters* active = &own;

}  // namespace

counters& active_counters() noexcept { return *active; }

void use_counters(counters& shared) noexcept { active = &shared; }

}  // namespace dlpack_bridge
