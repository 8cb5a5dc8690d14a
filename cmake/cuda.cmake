# dlpack_bridge::cuda, where the headers of the CUDA driver are. The driver itself is opened at run
# time: nothing of CUDA is linked. The gather kernels need nvcc; without it the backend is built
# without them.
set(DLPACK_BRIDGE_CUDA_INCLUDE_DIR "" CACHE PATH "Folder that holds cuda.h and cudaTypedefs.h (12.8 or newer)")

# An installed toolkit, else the packages of the Python that builds: nvidia-cuda-runtime has the
# headers, nvidia-cuda-nvcc with nvidia-nvvm and nvidia-cuda-crt the compiler. They unpack into one
# folder, in which `find_package(CUDAToolkit)` sees no toolkit.
set(dlpack_bridge_cuda_python ${Python_EXECUTABLE})
if(NOT dlpack_bridge_cuda_python)
  find_program(dlpack_bridge_cuda_python python3 NO_CACHE)
endif()
set(dlpack_bridge_cuda_packages "")
if(dlpack_bridge_cuda_python)
  execute_process(
    COMMAND ${dlpack_bridge_cuda_python} -c "import importlib.util as u
spec = u.find_spec('nvidia')
print(*(f'{place}/cu13' for place in (spec.submodule_search_locations if spec else [])), sep=';', end='')"
    OUTPUT_VARIABLE dlpack_bridge_cuda_packages ERROR_QUIET)
endif()
set(dlpack_bridge_cuda_toolkits $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda /opt/cuda
                                ${dlpack_bridge_cuda_packages})
include(cmake/cuda_headers.cmake)
if(NOT dlpack_bridge_cuda_include)
  return()
endif()
list(PREPEND dlpack_bridge_cuda_toolkits ${dlpack_bridge_cuda_include}/..)  # its compiler first

dlpack_bridge_component(cuda
                        HEADERS ${dlpack_bridge_cuda_headers} SOURCES ${dlpack_bridge_cuda_sources})
target_link_libraries(dlpack_bridge_cuda PUBLIC dlpack_bridge PRIVATE ${CMAKE_DL_LIBS})
target_include_directories(dlpack_bridge_cuda SYSTEM PRIVATE ${dlpack_bridge_cuda_include})
set(DLPACK_BRIDGE_HAS_CUDA ON)
include(cmake/gather.cmake)
