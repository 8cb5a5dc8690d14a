#pragma once

#include <string>

#include <dlpack/dlpack.h>

// The one home of the version: CMakeLists.txt and pyproject.toml read these three lines.
#define DLPACK_BRIDGE_VERSION_MAJOR 0
#define DLPACK_BRIDGE_VERSION_MINOR 1
#define DLPACK_BRIDGE_VERSION_PATCH 0

#define DLPACK_BRIDGE_STRINGIFY_(x) #x
#define DLPACK_BRIDGE_VERSION_STRING_(a, b, c) \
  DLPACK_BRIDGE_STRINGIFY_(a) "." DLPACK_BRIDGE_STRINGIFY_(b) "." DLPACK_BRIDGE_STRINGIFY_(c)
#define DLPACK_BRIDGE_VERSION_STRING                                                      \
  DLPACK_BRIDGE_VERSION_STRING_(DLPACK_BRIDGE_VERSION_MAJOR, DLPACK_BRIDGE_VERSION_MINOR, \
                                DLPACK_BRIDGE_VERSION_PATCH)

static_assert(DLPACK_MAJOR_VERSION == 1 && DLPACK_MINOR_VERSION >= 3,
              "dlpack_bridge needs dlpack.h 1.3 or a later 1.x; an older copy came first in the "
              "include path (all copies share one include guard)");

namespace dlpack_bridge {

/// The DLPack version of what the hub exports, but for structs without strides, and the one it asks others
/// for.
inline constexpr DLPackVersion exported_dlpack_version{1, 3};

/// The last one in which a struct may leave the strides of dense rows out.
inline constexpr DLPackVersion strideless_dlpack_version{1, 1};

/// "max_version=(1, 3)": how others are asked for it.
inline std::string max_version_text() {
  return "max_version=(" + std::to_string(exported_dlpack_version.major) + ", " +
         std::to_string(exported_dlpack_version.minor) + ")";
}

/// True when the fields behind `version.major` may be read (DLPack: a differing major means that
/// only `version`, `manager_ctx`, `deleter` and `flags` keep their place).
constexpr bool is_readable(DLPackVersion v) noexcept {
  return v.major == exported_dlpack_version.major;
}

}  // namespace dlpack_bridge
