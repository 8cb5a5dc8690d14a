# dlpack_bridge_component(<component> [TARGET <name>] HEADERS <files> SOURCES <files>)
#
# HEADERS are installed, and each must compile alone.
#
# One component of the package: the static, position independent library dlpack_bridge_<component>
# (or <name>), known as dlpack_bridge::<component> (dlpack_bridge::<name>) here, in the build tree
# and when installed. Its targets are exported in a set of their own, so that
# find_package(dlpack_bridge COMPONENTS <component>) can tell what an installation holds.
function(dlpack_bridge_component component)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" TARGET "HEADERS;SOURCES")
  set(exported ${component})
  set(target dlpack_bridge_${component})
  if(arg_TARGET)
    set(exported ${arg_TARGET})
    set(target ${arg_TARGET})
  endif()

  add_library(${target} STATIC)
  add_library(dlpack_bridge::${exported} ALIAS ${target})
  target_sources(${target}
    PRIVATE ${arg_SOURCES}
    PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${exported}
    POSITION_INDEPENDENT_CODE ON)
  dlpack_bridge_own_code(${target})
  if(DLPACK_BRIDGE_SANITIZE)
    list(JOIN DLPACK_BRIDGE_SANITIZE "," sanitizers)
    target_compile_options(${target} PUBLIC
      $<BUILD_INTERFACE:-fsanitize=${sanitizers};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
    target_link_options(${target} PUBLIC $<BUILD_INTERFACE:-fsanitize=${sanitizers}>)
  endif()
  set_property(GLOBAL APPEND PROPERTY dlpack_bridge_components ${component})
  set_property(GLOBAL PROPERTY dlpack_bridge_target_of_${component} ${target})
endfunction()

# What holds for our sources only and must not reach those who use the library.
function(dlpack_bridge_own_code target)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  # GCC takes an enumerator of an enum class for one that shadows: its -Wshadow is for locals only.
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wno-missing-field-initializers -Wconversion -Wnon-virtual-dtor
    -Woverloaded-virtual -Wextra-semi
    $<IF:$<CXX_COMPILER_ID:GNU>,-Wshadow=local,-Wshadow>)
endfunction()
