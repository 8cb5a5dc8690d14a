# Finds dlpack.h, which this repository does not hold. In order:
#   1. DLPACK_BRIDGE_DLPACK_INCLUDE_DIR, taken or refused, never passed over
#   2. an installed dlpack/dlpack.h that is new enough
#   3. the one in the apache-tvm-ffi package of the Python at hand
# Sets DLPack_FOUND, DLPack_VERSION and DLPack_HEADER.

function(_dlpack_version header out)
  set(version "")
  foreach(part MAJOR MINOR)
    file(STRINGS ${header} line REGEX "#define DLPACK_${part}_VERSION +[0-9]+" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+$" number "${line}")
    string(APPEND version ".${number}")
  endforeach()
  string(REGEX REPLACE "^\\.|\\.$" "" version "${version}")  # headers before 0.8 have no version
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

function(_dlpack_ask_python out)
  if(NOT Python_EXECUTABLE)
    find_program(DLPACK_BRIDGE_PYTHON_FOR_DLPACK NAMES python3 python)
    mark_as_advanced(DLPACK_BRIDGE_PYTHON_FOR_DLPACK)
    set(Python_EXECUTABLE ${DLPACK_BRIDGE_PYTHON_FOR_DLPACK})
  endif()
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -m tvm_ffi.config --dlpack-includedir
      WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
      OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
      set(${out} "${folder}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

set(_dlpack_passed_over "")
if(DLPACK_BRIDGE_DLPACK_INCLUDE_DIR)
  set(_dlpack_folders "${DLPACK_BRIDGE_DLPACK_INCLUDE_DIR}")
else()
  find_path(DLPack_INSTALLED_INCLUDE_DIR NAMES dlpack/dlpack.h)
  mark_as_advanced(DLPack_INSTALLED_INCLUDE_DIR)
  _dlpack_ask_python(_dlpack_python_folder)
  set(_dlpack_folders ${DLPack_INSTALLED_INCLUDE_DIR} ${_dlpack_python_folder})
  list(FILTER _dlpack_folders EXCLUDE REGEX "-NOTFOUND$")
endif()

set(DLPack_HEADER DLPack_HEADER-NOTFOUND)
set(DLPack_VERSION "")
foreach(_dlpack_folder IN LISTS _dlpack_folders)
  set(_dlpack_header "${_dlpack_folder}/dlpack/dlpack.h")
  if(NOT EXISTS "${_dlpack_header}")
    string(APPEND _dlpack_passed_over "\n  ${_dlpack_header} does not exist")
    continue()
  endif()
  _dlpack_version("${_dlpack_header}" _dlpack_version_found)
  if(NOT _dlpack_version_found OR _dlpack_version_found VERSION_LESS DLPack_FIND_VERSION)
    string(APPEND _dlpack_passed_over
           "\n  ${_dlpack_header} is version ${_dlpack_version_found}, ${DLPack_FIND_VERSION} is needed")
    continue()
  endif()
  set(DLPack_HEADER "${_dlpack_header}")
  set(DLPack_VERSION "${_dlpack_version_found}")
  break()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DLPack
  REQUIRED_VARS DLPack_HEADER
  VERSION_VAR DLPack_VERSION
  REASON_FAILURE_MESSAGE "No dlpack.h >= ${DLPack_FIND_VERSION}.${_dlpack_passed_over}
  Install the Python package apache-tvm-ffi, or set DLPACK_BRIDGE_DLPACK_INCLUDE_DIR to the folder \
that holds dlpack/dlpack.h.\n")
