# Every library that weightbridge is made of, as one target each (names: docs/architecture.md).
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(ONIG REQUIRED IMPORTED_TARGET oniguruma)

add_library(wb_dep_fmt INTERFACE)
target_link_libraries(wb_dep_fmt INTERFACE fmt::fmt)
add_library(wb_dep_json INTERFACE)
target_link_libraries(wb_dep_json INTERFACE nlohmann_json::nlohmann_json)
add_library(wb_dep_xxhash INTERFACE)
target_link_libraries(wb_dep_xxhash INTERFACE PkgConfig::XXHASH)
# Where the library picks its instruction set at run time (Debian's does, behind a header of its
# own), hashing reads memory about as fast as the processor can.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::XXHASH)
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
target_link_libraries(wb_dep_crypto INTERFACE PkgConfig::CRYPTO)
add_library(wb_dep_deflate INTERFACE)
target_link_libraries(wb_dep_deflate INTERFACE PkgConfig::DEFLATE)
add_library(wb_dep_onig INTERFACE)
target_link_libraries(wb_dep_onig INTERFACE PkgConfig::ONIG)
# Its pkg-config file says with which of its options the library was built: its classes depend on them.
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
add_library(wb_dep_httplib INTERFACE)
target_link_libraries(wb_dep_httplib INTERFACE PkgConfig::HTTPLIB)
# toml++ is header-only; its headers are found on the system include path.
add_library(wb_dep_toml INTERFACE)
target_compile_definitions(wb_dep_toml INTERFACE TOML_EXCEPTIONS=1)

# Portable SIMD for the kernels of src/ops.
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
add_library(wb_dep_hwy INTERFACE)
target_link_libraries(wb_dep_hwy INTERFACE PkgConfig::HWY)
# OpenBLAS is loaded at run time where it is there (src/ops/blas.h).
