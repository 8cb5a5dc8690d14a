#include <string>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/version.hpp>

using namespace dlpack_bridge;

TEST_CASE("the version text is made of the three numbers", "[version]") {
  CHECK(std::string(DLPACK_BRIDGE_VERSION_STRING) ==
        std::to_string(DLPACK_BRIDGE_VERSION_MAJOR) + "." +
            std::to_string(DLPACK_BRIDGE_VERSION_MINOR) + "." +
            std::to_string(DLPACK_BRIDGE_VERSION_PATCH));
}

TEST_CASE("everything is exported as DLPack 1.3", "[version]") {
  CHECK(exported_dlpack_version.major == 1);
  CHECK(exported_dlpack_version.minor == 3);
  CHECK(max_version_text() == "max_version=(1, 3)");
}

TEST_CASE("only the major version decides whether a struct can be read", "[version]") {
  CHECK(is_readable(exported_dlpack_version));
  for (const std::uint32_t minor : {0U, 1U, 200U, ~0U}) {
    CHECK(is_readable({1, minor}));
    for (const std::uint32_t major : {0U, 2U, 99U, 255U, ~0U}) {
      CHECK_FALSE(is_readable({major, minor}));
    }
  }
}
