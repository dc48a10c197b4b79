# Flags of every target of ours. -ffp-contract=off everywhere: conversions,
# quantisers and folds promise bits, and a fused multiply-add would change them.
add_library(wb_warnings INTERFACE)
target_compile_options(wb_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Wold-style-cast -ffp-contract=off
  # GCC 12 sees overlaps and overruns in std::string that are not there (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-array-bounds -Wno-stringop-overread -Wno-stringop-overflow>)
if(WB_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(WB_TSAN)
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
endif()
if(WB_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
if(WB_STATIC)
  add_link_options(-static-libstdc++ -static-libgcc)
endif()
# Fuzzers want every branch watched and little built: one instruction set of Highway's files, which
# cost minutes each with all of them sanitised. Their loops work inside buffers that the callers
# size, so that of the sanitizers AddressSanitizer is the one with something to say there.
if(WB_FUZZ)
  # Left out: what AddressSanitizer sees as well, or the suite under it (make asan). A third of the
  # time that compiling takes goes there.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
    -fno-sanitize=vptr,null,object-size,alignment,nonnull-attribute,returns-nonnull-attribute
    -fno-omit-frame-pointer)
  add_compile_definitions(HWY_COMPILE_ONLY_STATIC)
  add_link_options(-fsanitize=address,undefined)
  set_source_files_properties("${CMAKE_SOURCE_DIR}/src/quant/simd.cpp"
    "${CMAKE_SOURCE_DIR}/src/tensor/kernels.cpp" PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "-fno-sanitize=undefined")
endif()
