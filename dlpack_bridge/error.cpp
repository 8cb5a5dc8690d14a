#include <dlpack_bridge/error.hpp>

namespace dlpack_bridge {
namespace {

std::string version_text(DLPackVersion found) {
  return "the capsule has DLPack version " + std::to_string(found.major) + "." +
         std::to_string(found.minor) + ", and only major version " +
         std::to_string(DLPACK_MAJOR_VERSION) + " can be read; export it with max_version=(" +
         std::to_string(DLPACK_MAJOR_VERSION) + ", " + std::to_string(DLPACK_MINOR_VERSION) + ")";
}

}  // namespace

version_error::version_error(DLPackVersion found)
    : exchange_error(version_text(found), {{reason_code::version, version_text(found)}}),
      found_(found) {}

}  // namespace dlpack_bridge
