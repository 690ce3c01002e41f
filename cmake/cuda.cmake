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
  endif()
  if(CMAKE_CUDA_COMPILER AND CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
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
# NVIDIA's packages, because those of Debian 12 and Ubuntu 22.04 are too old for C++20.
set(SLUICE_CUDA_DISTRIBUTION debian12)
if(EXISTS /etc/os-release)
  file(STRINGS /etc/os-release os_release REGEX "^(ID|VERSION_ID)=")
  string(REGEX REPLACE "[\";.]|VERSION_ID=|ID=" "" os_release "${os_release}")
  if(os_release MATCHES "^(ubuntu|debian)[0-9]+$")
    set(SLUICE_CUDA_DISTRIBUTION ${os_release})
  elseif(os_release MATCHES "^([0-9]+)(ubuntu|debian)$")   # the lines come in either order
    set(SLUICE_CUDA_DISTRIBUTION ${CMAKE_MATCH_2}${CMAKE_MATCH_1})
  endif()
endif()
set(SLUICE_CUDA_INSTALL "wget https://developer.download.nvidia.com/compute/cuda/repos/${SLUICE_CUDA_DISTRIBUTION}/x86_64/cuda-keyring_1.1-1_all.deb && \
sudo dpkg -i cuda-keyring_1.1-1_all.deb && sudo apt-get update && sudo apt-get install cuda-toolkit")
if(SLUICE_HAVE_CUDA)
  message(STATUS "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION} found; kernels for sm_${CMAKE_CUDA_ARCHITECTURES}")
elseif(NOT SLUICE_CUDA)
  message(STATUS "CUDA: switched off; building for the CPU alone")
elseif(SLUICE_CUDA_GPUS)
  message(STATUS "CUDA: this machine has an NVIDIA GPU but no nvcc of version 12 or later, so the CPU will run everything. To use the GPU, "
                 "install nvcc and start this again: ${SLUICE_CUDA_INSTALL}")
else()
  message(STATUS "CUDA: nvcc not found; building for the CPU alone")
endif()
