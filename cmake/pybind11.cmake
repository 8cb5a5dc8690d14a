# dlpack_bridge::pybind11, the casters: headers over dlpack_bridge::python. The pybind11 is that of
# whoever links it; neither building nor installing it needs one.
add_library(dlpack_bridge_pybind11 INTERFACE)
add_library(dlpack_bridge::pybind11 ALIAS dlpack_bridge_pybind11)
target_sources(dlpack_bridge_pybind11 INTERFACE
  FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${dlpack_bridge_pybind11_headers})
target_link_libraries(dlpack_bridge_pybind11 INTERFACE dlpack_bridge_python pybind11::headers)
# Its headers need pybind11: the tests compile them.
set_target_properties(dlpack_bridge_pybind11 PROPERTIES
  EXPORT_NAME pybind11
  VERIFY_INTERFACE_HEADER_SETS OFF)
set_property(GLOBAL APPEND PROPERTY dlpack_bridge_components pybind11)
set_property(GLOBAL PROPERTY dlpack_bridge_target_of_pybind11 dlpack_bridge_pybind11)
