// Kernels that were translated from PTX, and running a grid of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::simt {

struct Module;
struct ModuleVariable;
struct SharedVariable;

struct Extent {
  uint32_t x = 1, y = 1, z = 1;
};

struct Parameter {
  uint32_t offset = 0;  // in the kernel's parameter space
  uint32_t bytes = 0;
};

struct Kernel {
  std::string_view name;                                  // mangled
  void (*thread)(const std::byte* parameters) = nullptr;  // what one thread runs
  uint32_t parameter_bytes = 0;
  std::span<const Parameter> parameters;
  uint32_t static_shared_bytes = 0;  // as a device packs them; here they lie apart, with guards
  // What the translator knows besides (module.h).
  const Module* module = nullptr;
  std::span<const SharedVariable> shared_variables;
  uint32_t dynamic_shared_offset = 0;  // where the dynamic part begins
};

// Each translated file has one table; `architecture` is 75 or 80. What launches look up is the table of the chosen architecture.
void register_kernels(int architecture, std::span<const Kernel> kernels);
// At first that of SIMT_ARCHITECTURE in the environment, else the newest.
void choose_architecture(int architecture);
int chosen_architecture();
// Null when no translated file has it.
const Kernel* find_kernel(std::string_view name);
// A __device__ or __constant__ variable by its mangled name (module.h); null when no translated file of the chosen architecture has it.
const ModuleVariable* find_variable(std::string_view name);

struct GridOptions {
  enum class Order {
    Forward,
    Reverse,
    Random
  } order = Order::Forward;  // of blocks, and of warps and lanes where they may run
  uint64_t seed = 1;
  bool check = true;     // every access: bounds, races, initialisation, alignment
  uint32_t preempt = 0;  // also switch threads at one in so many accesses; 0: only where a thread must wait
};
// For all grids from now on. From the environment at first: SIMT_ORDER=forward|reverse|random, SIMT_SEED, SIMT_CHECK=0|1, SIMT_PREEMPT.
GridOptions& grid_options();

enum class GridResult : uint8_t { Done, Aborted };  // Aborted: an access that a device would have died of
// Runs all blocks to the end on the calling thread. One at a time. device: whose memory it may touch. What is wrong is reported
// (findings.h).
GridResult run_grid(const Kernel& kernel, Extent grid, Extent block, uint32_t dynamic_shared_bytes,
                    const std::byte* parameters, int device);

}  // namespace sluice::simt
