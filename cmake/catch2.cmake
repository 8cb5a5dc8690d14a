# Catch2 3 for the tests: CATCH2_DIR or an installed one, else Debian's backport unpacked into the
# build folder, else a pinned release fetched by CMake.
set(CATCH2_DIR "$ENV{CATCH2_DIR}" CACHE PATH "Prefix or config folder of a Catch2 3 to use")

set(catch2_folder ${PROJECT_BINARY_DIR}/_deps/catch2-debian)
find_package(Catch2 3 QUIET CONFIG HINTS ${CATCH2_DIR} ${catch2_folder}/usr)

if(NOT Catch2_FOUND AND EXISTS /etc/debian_version)
  file(STRINGS /etc/os-release codename REGEX "^VERSION_CODENAME=")
  string(REPLACE "VERSION_CODENAME=" "" codename "${codename}")
  message(STATUS "Catch2 3 is not installed: unpacking libcatch2-dev of ${codename}-backports")
  execute_process(
    COMMAND ${PROJECT_SOURCE_DIR}/cmake/debian_package.sh libcatch2-dev ${codename}-backports ${catch2_folder}
    RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(STATUS "That did not work:\n${output}")
  else()
    find_package(Catch2 3 QUIET CONFIG HINTS ${catch2_folder}/usr)
  endif()
endif()

if(Catch2_FOUND)
  message(STATUS "Catch2 ${Catch2_VERSION}: ${Catch2_DIR}")
else()
  include(FetchContent)
  message(STATUS "Catch2 3 is not installed: fetching v3.7.1")
  FetchContent_Declare(Catch2
    URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
    URL_HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c
    SYSTEM)
  FetchContent_MakeAvailable(Catch2)
  list(APPEND CMAKE_MODULE_PATH ${catch2_SOURCE_DIR}/extras)
endif()
include(Catch)
