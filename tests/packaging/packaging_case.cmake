# cmake -DCASE= ... -P packaging_case.cmake
# Configures, builds and runs one consumer project; see the end of the file for the cases.
set(folder ${BUILD_ROOT}/packaging/${CASE})
file(REMOVE_RECURSE ${folder})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    list(JOIN ARGN " " line)
    message("${line}\n${output}")
    message(FATAL_ERROR "exit code ${failed}")
  endif()
endfunction()

function(configure consumer)
  run(${CMAKE_COMMAND} -S ${SOURCE_ROOT}/tests/packaging/${consumer} -B ${folder}/build
      -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM} -DCMAKE_CXX_COMPILER=${COMPILER} ${ARGN})
endfunction()

function(build_and_run)
  run(${CMAKE_COMMAND} --build ${folder}/build)
  run(${folder}/build/consumer)
endfunction()

function(install_to prefix)
  run(${CMAKE_COMMAND} --install ${BUILD_ROOT} --prefix ${prefix})
endfunction()

if(CASE STREQUAL "install_tree")
  # Moved after the installation: nothing in it may point back.
  install_to(${folder}/prefix)
  file(RENAME ${folder}/prefix ${folder}/moved)
  configure(find_package -DCMAKE_PREFIX_PATH=${folder}/moved
            -DCMAKE_DISABLE_FIND_PACKAGE_Python=ON -DEXPECTED_INCLUDE=${folder}/moved)
  build_and_run()

elseif(CASE STREQUAL "build_tree")
  configure(find_package -Ddlpack_bridge_DIR=${BUILD_ROOT} -DEXPECTED_INCLUDE=${SOURCE_ROOT})
  build_and_run()

elseif(CASE STREQUAL "add_subdirectory")
  # The core is built here with neither Python nor CUDA in sight.
  configure(add_subdirectory -DCMAKE_BUILD_TYPE=Debug
            -DDLPACK_BRIDGE_SOURCE_DIR=${SOURCE_ROOT}
            -DDLPACK_BRIDGE_DLPACK_INCLUDE_DIR=${BUILD_ROOT}/include
            -DCMAKE_DISABLE_FIND_PACKAGE_Python=ON -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON)
  build_and_run()

elseif(CASE STREQUAL "python_component")
  install_to(${folder}/prefix)
  configure(python_component -DCMAKE_PREFIX_PATH=${folder}/prefix -DPython_EXECUTABLE=${PYTHON})
  run(${CMAKE_COMMAND} --build ${folder}/build)
  run(${CMAKE_COMMAND} -E env PYTHONPATH=${folder}/build
      ${PYTHON} ${SOURCE_ROOT}/tests/packaging/python_component/check.py)

elseif(CASE STREQUAL "missing_component")
  install_to(${folder}/prefix)
  configure(find_package -DCMAKE_PREFIX_PATH=${folder}/prefix -DCOMPONENT_THAT_IS_NOT_THERE=ON)
else()
  message(FATAL_ERROR "no case ${CASE}")
endif()
