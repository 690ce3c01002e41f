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

# Compiles the files of a target many at a time: most of the time goes to the headers that all of them read, and to their templates. A
# file whose own names (in a namespace without a name) are those of another may be named, and is compiled by itself.
#
#   sluice_unite(TARGET files_at_a_time [APART a.cc b.cc])
function(sluice_unite target n_files)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "APART")
  if(SLUICE_UNITE)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${n_files})
    set_source_files_properties(${arg_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
endfunction()
