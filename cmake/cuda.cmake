# CUDA is optional: its language is enabled when nvcc is found and SLUICE_CUDA is on. SLUICE_HAVE_CUDA tells the rooms.

set(SLUICE_HAVE_CUDA OFF)
set(SLUICE_CUDA_GPUS "")   # compute capabilities of this machine's GPUs: "8.9"
find_program(SLUICE_NVIDIA_SMI nvidia-smi)
if(SLUICE_NVIDIA_SMI)
  execute_process(COMMAND ${SLUICE_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE SLUICE_CUDA_GPUS
                  ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]+" SLUICE_CUDA_GPUS "${SLUICE_CUDA_GPUS}")
  list(REMOVE_DUPLICATES SLUICE_CUDA_GPUS)
endif()

if(SLUICE_CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(SLUICE_NVCC nvcc PATHS /usr/local/cuda/bin $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin)
    if(SLUICE_NVCC)
      set(CMAKE_CUDA_COMPILER ${SLUICE_NVCC})
    endif()
  endif()
  if(CMAKE_CUDA_COMPILER)
    # Must be set before the language is enabled. For the GPUs of this machine; without one, code for Ampere that newer GPUs take
    # as well.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      if(SLUICE_CUDA_GPUS)
        string(REPLACE "." "" CMAKE_CUDA_ARCHITECTURES "${SLUICE_CUDA_GPUS}")
        list(TRANSFORM CMAKE_CUDA_ARCHITECTURES APPEND "-real")
      else()
        set(CMAKE_CUDA_ARCHITECTURES 80)
      endif()
    endif()
    include(CheckLanguage)
    check_language(CUDA)
  endif()
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 20)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)   # CMake 3.25 does not know that nvcc speaks it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    # The same for the program and for the emulation, whose PTX must be of the same code (tests/simt). Products and sums are fused
    # only where the source says so, because dequantised values and the 8-bit forms are held to the reference bit for bit.
    set(SLUICE_CUDA_FLAGS -O3 -fmad=false -lineinfo)
    # The kernels name the runtime themselves (kernels/cuda/CMakeLists.txt): the emulation links another.
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    find_package(CUDAToolkit QUIET)
    if(TARGET CUDA::cudart_static)
      set(SLUICE_HAVE_CUDA ON)
    endif()
  endif()
endif()
if(SLUICE_HAVE_CUDA)
  message(STATUS "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION} found; kernels for sm_${CMAKE_CUDA_ARCHITECTURES}")
elseif(NOT SLUICE_CUDA)
  message(STATUS "CUDA: switched off; building for the CPU alone")
elseif(SLUICE_CUDA_GPUS)
  message(STATUS "CUDA: this machine has an NVIDIA GPU and no nvcc, so the CPU will run everything. To use the GPU: "
                 "sudo apt-get install nvidia-cuda-toolkit (from Debian's non-free, or NVIDIA's own repository for version 13), then start this again")
else()
  message(STATUS "CUDA: nvcc not found; building for the CPU alone")
endif()
