# dlpack_bridge::torch, the LibTorch adapter. An archive would be bound to the ABI of one torch, so it
# is shipped as source: whoever links the target compiles it against a torch of their own, whose
# find_package(Torch) comes first. Neither building nor installing it needs torch.
add_library(dlpack_bridge_torch INTERFACE)
add_library(dlpack_bridge::torch ALIAS dlpack_bridge_torch)
target_sources(dlpack_bridge_torch INTERFACE
  FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${dlpack_bridge_torch_headers})
foreach(source IN LISTS dlpack_bridge_torch_sources)
  target_sources(dlpack_bridge_torch INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/${source}>
    $<INSTALL_INTERFACE:$<INSTALL_PREFIX>/${CMAKE_INSTALL_INCLUDEDIR}/${source}>)
endforeach()
target_link_libraries(dlpack_bridge_torch INTERFACE dlpack_bridge torch)
# Its headers need torch: tests/packaging compiles them.
set_target_properties(dlpack_bridge_torch PROPERTIES
  EXPORT_NAME torch
  VERIFY_INTERFACE_HEADER_SETS OFF)
if(DLPACK_BRIDGE_INSTALL)
  install(FILES ${dlpack_bridge_torch_sources}
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dlpack_bridge/adapters)
endif()
set_property(GLOBAL APPEND PROPERTY dlpack_bridge_components torch)
set_property(GLOBAL PROPERTY dlpack_bridge_target_of_torch dlpack_bridge_torch)
