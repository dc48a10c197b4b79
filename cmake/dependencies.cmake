# Every library that weightbridge is made of, as one target each (names: docs/architecture.md).
# With WB_STATIC they go into the program but for the C library: Debian's archives where it has them,
# else those of tools/static_deps.sh in build/static-deps.
if(WB_STATIC)
  set(ZLIB_USE_STATIC_LIBS ON)
endif()
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(ONIG REQUIRED IMPORTED_TARGET oniguruma)

set(WB_STATIC_DEPS "${CMAKE_SOURCE_DIR}/build/static-deps")
# The imported target of a library, or its archive.
function(wb_link dependency target archive)
  if(WB_STATIC)
    find_library(WB_ARCHIVE_${archive} NAMES "lib${archive}.a" HINTS "${WB_STATIC_DEPS}/lib" REQUIRED)
    target_link_libraries(${dependency} INTERFACE "${WB_ARCHIVE_${archive}}" ${CMAKE_DL_LIBS})
  else()
    target_link_libraries(${dependency} INTERFACE ${target})
  endif()
endfunction()

add_library(wb_dep_fmt INTERFACE)
target_link_libraries(wb_dep_fmt INTERFACE $<IF:$<BOOL:${WB_STATIC}>,fmt::fmt-header-only,fmt::fmt>)
add_library(wb_dep_json INTERFACE)
target_link_libraries(wb_dep_json INTERFACE nlohmann_json::nlohmann_json)
add_library(wb_dep_xxhash INTERFACE)
wb_link(wb_dep_xxhash PkgConfig::XXHASH xxhash)
# Where the library picks its instruction set at run time (Debian's does, behind a header of its
# own), hashing reads memory about as fast as the processor can.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::XXHASH)
if(WB_STATIC)  # Debian's archive has it not
  set(CMAKE_REQUIRED_LIBRARIES "${WB_ARCHIVE_xxhash}")
endif()
check_cxx_source_compiles("
#include <xxhash.h>
#include <xxh_x86dispatch.h>
int main() { return XXH3_128bits_update_dispatch(XXH3_createState(), \"\", 0) == XXH_OK ? 0 : 1; }"
  WB_XXH_DISPATCH)
unset(CMAKE_REQUIRED_LIBRARIES)
if(WB_XXH_DISPATCH)
  set_source_files_properties("${CMAKE_SOURCE_DIR}/src/base/hash.cpp" PROPERTIES
                              COMPILE_DEFINITIONS WB_XXH_DISPATCH)
endif()
add_library(wb_dep_crypto INTERFACE)
wb_link(wb_dep_crypto PkgConfig::CRYPTO crypto)
add_library(wb_dep_deflate INTERFACE)
wb_link(wb_dep_deflate PkgConfig::DEFLATE deflate)
add_library(wb_dep_onig INTERFACE)
wb_link(wb_dep_onig PkgConfig::ONIG onig)
# Its pkg-config file says with which of its options the library was built: its classes depend on them.
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
add_library(wb_dep_httplib INTERFACE)
if(WB_STATIC)
  # The header before Debian splits it, without TLS: `serve` has none.
  target_include_directories(wb_dep_httplib SYSTEM BEFORE INTERFACE "${WB_STATIC_DEPS}/include")
  target_link_libraries(wb_dep_httplib INTERFACE Threads::Threads)
else()
  target_link_libraries(wb_dep_httplib INTERFACE PkgConfig::HTTPLIB)
endif()
# toml++ is header-only; its headers are found on the system include path.
add_library(wb_dep_toml INTERFACE)
target_compile_definitions(wb_dep_toml INTERFACE TOML_EXCEPTIONS=1)

# Portable SIMD for the kernels of src/ops.
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
add_library(wb_dep_hwy INTERFACE)
wb_link(wb_dep_hwy PkgConfig::HWY hwy)
# OpenBLAS is loaded at run time where it is there (src/ops/blas.h).
