# The libraries' headers that nearly every file reads, parsed once: nlohmann/json alone is
# most of what a file costs to compile. A file still includes what it uses: the clang preset
# builds without (WB_PCH off), so that a missing include does not stay hidden.
option(WB_PCH "Precompile the headers of json, fmt and GoogleTest" ON)
add_library(wb_pch OBJECT "${CMAKE_CURRENT_LIST_DIR}/precompiled.cpp")
target_link_libraries(wb_pch PRIVATE wb_dep_fmt wb_dep_json Threads::Threads wb_warnings)
if(WB_PCH)
  target_precompile_headers(wb_pch PRIVATE
    <nlohmann/json.hpp> <fmt/format.h> <algorithm> <cmath> <functional> <map> <memory> <optional>
    <string> <unordered_map> <variant> <vector>)
endif()

# wb_precompile(TARGET [FROM]): TARGET is compiled with the headers of FROM (wb_pch).
function(wb_precompile target)
  if(WB_PCH AND ARGN)
    target_precompile_headers(${target} REUSE_FROM ${ARGN})
  elseif(WB_PCH)
    target_precompile_headers(${target} REUSE_FROM wb_pch)
  endif()
endfunction()
