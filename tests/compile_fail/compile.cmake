# cmake -DCOMPILER= -DINCLUDES= [-DFLAGS=] -DSOURCE= -DEXPECTED= -P compile.cmake
# SOURCE compiles; or, where EXPECTED is given, does not, with one error that matches it.
list(TRANSFORM INCLUDES PREPEND -I)
execute_process(
  COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C ${COMPILER} -std=c++20 -fsyntax-only ${FLAGS} ${INCLUDES}
          ${SOURCE}
  RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(EXPECTED STREQUAL "")
  if(failed)
    message("${output}")
    message(FATAL_ERROR "${SOURCE} does not compile")
  endif()
  return()
endif()

if(NOT failed)
  message(FATAL_ERROR "${SOURCE} compiles")
endif()
string(REPLACE ";" "," output "${output}")  # one message is one entry of the list
string(REGEX MATCHALL "[^\n]*error: [^\n]*" errors "${output}")
list(LENGTH errors count)
if(NOT count EQUAL 1 OR NOT errors MATCHES "${EXPECTED}")
  message("${output}")
  message(FATAL_ERROR "${SOURCE} fails for another reason than \"${EXPECTED}\"")
endif()
