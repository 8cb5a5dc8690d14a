# The gather kernels of dlpack_bridge::cuda: compiled to one image for all chips and put into the
# library as bytes. Included by cuda.cmake, which has looked for toolkits.
find_program(DLPACK_BRIDGE_NVCC nvcc HINTS ${dlpack_bridge_cuda_toolkits} PATH_SUFFIXES bin
             DOC "nvcc 12.8 or newer, for the gather kernels; OFF builds without them")
set(DLPACK_BRIDGE_HAS_GATHER OFF)
if(NOT DLPACK_BRIDGE_NVCC)
  message(STATUS "No nvcc: the CUDA backend is built without its gather kernels; strided copies "
                 "between devices go through the host")
  return()
endif()

# Code for three generations, which later chips of each run too; PTX for all others. Results must
# not depend on where they were computed: no fused multiply-add.
set(gather_flags -std=c++20 -O3 -fmad=false --expt-relaxed-constexpr
    -ccbin ${CMAKE_CXX_COMPILER} -allow-unsupported-compiler -compress-mode=size
    -gencode arch=compute_75,code=compute_75)
if(NOT DLPACK_BRIDGE_SANITIZE)  # whose tests run on no chip: code for the chips takes the compiler a minute
  list(APPEND gather_flags -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90
       -gencode arch=compute_100,code=sm_100)
endif()

# A toolkit can be old, or lack one of its packages: better found here than in the build.
set(gather_check "${DLPACK_BRIDGE_NVCC} ${gather_flags}")
if(NOT gather_check STREQUAL dlpack_bridge_gather_checked)
  set(probe ${PROJECT_BINARY_DIR}/gather_probe.cu)
  file(WRITE ${probe} "#include <bit>\n__global__ void probe(float* x) { *x = std::bit_cast<float>(1); }\n")
  execute_process(COMMAND ${DLPACK_BRIDGE_NVCC} ${gather_flags} -fatbin -o ${probe}.fatbin ${probe}
                  RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(STATUS "${DLPACK_BRIDGE_NVCC} does not work: the CUDA backend is built without its "
                   "gather kernels\n${output}")
    return()
  endif()
  set(dlpack_bridge_gather_checked "${gather_check}" CACHE INTERNAL "nvcc and flags that worked")
endif()

set(gather_image ${PROJECT_BINARY_DIR}/gather.fatbin)
add_custom_command(
  OUTPUT ${gather_image}
  COMMAND ${DLPACK_BRIDGE_NVCC} ${gather_flags} -I${PROJECT_SOURCE_DIR} -I${PROJECT_BINARY_DIR}/include
          -fatbin -o ${gather_image} -MD -MF ${gather_image}.d
          ${PROJECT_SOURCE_DIR}/dlpack_bridge/cuda/gather.cu
  MAIN_DEPENDENCY dlpack_bridge/cuda/gather.cu
  DEPFILE ${gather_image}.d
  COMMENT "Compiling the gather kernels" VERBATIM)
set_source_files_properties(dlpack_bridge/cuda/gather_image.cpp PROPERTIES
  COMPILE_DEFINITIONS DLPACK_BRIDGE_GATHER_IMAGE="${gather_image}"
  OBJECT_DEPENDS ${gather_image})
set(DLPACK_BRIDGE_HAS_GATHER ON)
