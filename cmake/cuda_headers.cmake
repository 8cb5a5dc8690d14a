# The CUDA headers, as `dlpack_bridge_cuda_include`: those of DLPACK_BRIDGE_CUDA_INCLUDE_DIR or of the first
# of `dlpack_bridge_cuda_toolkits` that is new enough, so that an old toolkit does not stand in front of
# newer headers, else what CMake finds by itself. Empty when there are none.
set(dlpack_bridge_cuda_include "")
foreach(place IN LISTS DLPACK_BRIDGE_CUDA_INCLUDE_DIR dlpack_bridge_cuda_toolkits ITEMS "")
  set(hint "")
  if(place)
    set(hint HINTS ${place}/include ${place} NO_DEFAULT_PATH)
  endif()
  unset(found)
  find_path(found cudaTypedefs.h NO_CACHE ${hint})
  if(NOT found OR NOT EXISTS ${found}/cuda.h)
    continue()
  endif()
  file(STRINGS ${found}/cuda.h version REGEX "^#define CUDA_VERSION +[0-9]+" LIMIT_COUNT 1)
  string(REGEX REPLACE "[^0-9]" "" version "${version}")
  if(version GREATER_EQUAL 12080)  # it has the error codes that are told apart
    set(dlpack_bridge_cuda_include ${found})
    break()
  endif()
  message(STATUS "Passed over for CUDA headers of 12.8 or newer: ${found} has CUDA_VERSION ${version}")
endforeach()
if(NOT dlpack_bridge_cuda_include)
  message(STATUS "No cudaTypedefs.h of CUDA 12.8 or newer: the CUDA backend is left out. Remedy: "
                 "pip install nvidia-cuda-runtime, or set DLPACK_BRIDGE_CUDA_INCLUDE_DIR")
endif()
