// What the translator knows of a file of kernels: where its instructions came from, what its blocks of code execute, and its data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::simt {

enum class Space : uint8_t { None, Global, Shared, Generic };
enum class SiteKind : uint8_t {
  Load,
  Store,
  Atomic,
  StrongLoad,
  StrongStore,
  AsyncRead,
  AsyncWrite,
  MatrixLoad,
  Collective
};

// An instruction that touches memory or in which threads meet.
struct Site {
  uint16_t file;  // index of Module::files
  uint32_t line;  // 0: not known
  SiteKind kind;
  Space space;
  uint8_t bytes;  // of the access, of all elements of a vector
};

enum class InstructionClass : uint8_t {
  GlobalLoad,
  GlobalStore,
  SharedLoad,
  SharedStore,
  OtherLoad,
  OtherStore,  // other: local, parameters, constants
  Atomic,
  AsyncCopy,
  Integer,
  Float,
  Dot,
  Matrix,
  Conversion,
  Move,
  Exchange,
  Control
};
inline constexpr int kInstructionClasses = 16;

// Instructions of PTX that are executed together, by class.
struct CodeBlock {
  uint16_t counts[kInstructionClasses];
};

// A __device__ or __constant__ variable.
struct ModuleVariable {
  const char* name = "";
  std::byte* data = nullptr;
  size_t bytes = 0;
  bool is_constant = false;
};

struct SharedVariable {
  const char* name = "";
  uint32_t offset = 0;
  uint32_t bytes = 0;
};

struct Module {
  const char* const* files;
  const Site* sites;
  uint32_t n_sites;
  const CodeBlock* blocks;
  uint32_t n_blocks;
  std::span<const ModuleVariable> variables;
};

}  // namespace sluice::simt
