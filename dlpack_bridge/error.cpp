#include <dlpack_bridge/error.hpp>

#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge {
namespace {

std::string version_text(DLPackVersion found) {
  return "the capsule has DLPack version " + std::to_string(found.major) + "." +
         std::to_string(found.minor) + ", and only major version " +
         std::to_string(exported_dlpack_version.major) + " can be read; export it with " +
         max_version_text();
}

}  // namespace

version_error::version_error(DLPackVersion found)
    : exchange_error(version_text(found), {{reason_code::version, version_text(found)}}),
      found_(found) {}

}  // namespace dlpack_bridge
