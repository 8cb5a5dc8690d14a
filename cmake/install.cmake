# Install rules, the CMake package of the installation and the one of the build tree.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dlpack_bridge)

get_property(components GLOBAL PROPERTY dlpack_bridge_components)
foreach(component IN LISTS components)
  get_property(target GLOBAL PROPERTY dlpack_bridge_target_of_${component})
  set(dlpack_set)
  if(component STREQUAL core)
    set(dlpack_set FILE_SET dlpack)
  endif()
  install(TARGETS ${target} EXPORT dlpack_bridge-${component}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} FILE_SET HEADERS ${dlpack_set})
  install(EXPORT dlpack_bridge-${component} NAMESPACE dlpack_bridge::
          FILE dlpack_bridge-${component}.cmake DESTINATION ${package_dir})
  export(EXPORT dlpack_bridge-${component} NAMESPACE dlpack_bridge::
         FILE ${PROJECT_BINARY_DIR}/dlpack_bridge-${component}.cmake)
endforeach()

configure_package_config_file(cmake/dlpack_bridge-config.cmake.in dlpack_bridge-config.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dlpack_bridge-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dlpack_bridge-config.cmake
              ${PROJECT_BINARY_DIR}/dlpack_bridge-config-version.cmake
        DESTINATION ${package_dir})

# The dlpack.h that everything was compiled with goes along, with its licence, the Apache License
# 2.0 that this project uses as well.
file(READ LICENSE apache_license)
file(WRITE ${PROJECT_BINARY_DIR}/include/dlpack/LICENSE
     "dlpack.h ${DLPack_VERSION}, https://github.com/dmlc/dlpack\n"
     "Copyright (c) 2017 by Contributors\n${apache_license}")
install(FILES ${PROJECT_BINARY_DIR}/include/dlpack/LICENSE
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dlpack)
