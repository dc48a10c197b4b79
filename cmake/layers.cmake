# wb_layer(NAME USES ... PRIVATE_USES ...): one folder of src/ as a static library.
#
# The include path of a layer is a directory that holds one link, NAME -> src/NAME,
# so `#include "tensor/shape.h"` compiles only where wb_tensor is linked, directly
# or through a layer that uses it. That is how the one-way order is enforced.
# A layer whose folder holds no source yet is an interface with no content.
function(wb_layer name)
  cmake_parse_arguments(arg "" "" "USES;PRIVATE_USES" ${ARGN})
  set(root "${CMAKE_BINARY_DIR}/layers/${name}")
  file(MAKE_DIRECTORY "${root}")
  file(CREATE_LINK "${CMAKE_SOURCE_DIR}/src/${name}" "${root}/${name}" SYMBOLIC)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${name}/*.cpp")
  if(sources)
    add_library(wb_${name} STATIC ${sources})
    target_include_directories(wb_${name} PUBLIC "$<BUILD_INTERFACE:${root}>")
    target_link_libraries(wb_${name} PUBLIC ${arg_USES} PRIVATE ${arg_PRIVATE_USES} wb_warnings)
    wb_precompile(wb_${name})
  else()
    add_library(wb_${name} INTERFACE)
    target_include_directories(wb_${name} INTERFACE "$<BUILD_INTERFACE:${root}>")
    target_link_libraries(wb_${name} INTERFACE ${arg_USES})
  endif()
endfunction()
