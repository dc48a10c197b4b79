# The library that is installed: the layers up to package/ in one archive, and one header.
configure_file("${CMAKE_SOURCE_DIR}/cmake/version.h.in"
               "${CMAKE_BINARY_DIR}/generated/weightbridge/version.h" @ONLY)
target_include_directories(wb_package PUBLIC "$<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/generated>")

# Texts built in, so that the program is one file wherever it is copied.
set(texts mlx/weightbridge_mla.py share/model-card.md share/chat.html)
list(TRANSFORM texts PREPEND "${CMAKE_SOURCE_DIR}/" OUTPUT_VARIABLE text_paths)
set(embedded "${CMAKE_BINARY_DIR}/generated/embedded_texts.inc")
add_custom_command(OUTPUT "${embedded}"
  COMMAND "${CMAKE_COMMAND}" -D "ROOT=${CMAKE_SOURCE_DIR}" -D "FILES=${texts}" -D "OUTPUT=${embedded}"
          -P "${CMAKE_SOURCE_DIR}/cmake/embed_texts.cmake"
  DEPENDS ${text_paths} "${CMAKE_SOURCE_DIR}/cmake/embed_texts.cmake"
  COMMENT "Building texts in" VERBATIM)
target_sources(wb_package PRIVATE "${embedded}")
add_custom_target(embedded_texts DEPENDS "${embedded}")  # by name, for tools/lint.sh
add_dependencies(wb_package embedded_texts)

add_library(weightbridge_library STATIC)
foreach(layer base tensor checkpoint quant model recipe target convert package)
  target_sources(weightbridge_library PRIVATE $<TARGET_OBJECTS:wb_${layer}>)
endforeach()
set_target_properties(weightbridge_library PROPERTIES
  LINKER_LANGUAGE CXX OUTPUT_NAME weightbridge EXPORT_NAME weightbridge)
target_compile_features(weightbridge_library INTERFACE cxx_std_20)
# Names, not targets: the package's own configuration finds them again.
target_link_libraries(weightbridge_library INTERFACE
  "$<INSTALL_INTERFACE:PkgConfig::WEIGHTBRIDGE_DEPS;fmt::fmt;ZLIB::ZLIB;Threads::Threads>")
