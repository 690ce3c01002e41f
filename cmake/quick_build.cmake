# What makes the builds of ./test quick. The releases do without, so they also show whether a file includes all it needs.

# Parses the headers that nearly every file of a target reads once. More may be named.
function(sluice_precompile target)
  if(SLUICE_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE <algorithm> <array> <cmath> <cstdint> <filesystem> <functional> <memory> <optional>
                              <span> <string> <string_view> <vector> ${ARGN})
    # Where these headers come precompiled, GCC 12 takes ordinary strings for too short. The releases warn as ever.
    target_compile_options(${target} PRIVATE
      $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-stringop-overflow;-Wno-stringop-overread>)
  endif()
endfunction()
