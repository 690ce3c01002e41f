// Counts what the CUDA kernels do at the shapes of real models, as JSON: bench/gpu_counts.py predicts from it.
//
// Launches are those of kernels/cuda, run by the emulation (tests/simt) for some thread blocks at the begin of the grid and for twice
// as many. What the second half adds is what each further block adds; what the first has besides is shared by all (inputs, arguments).
// From both everything is extended to the whole grid. Sectors are counted twice: a request's own, all of which pass the first-level
// cache or the second, and those of the launch that are different, which must come from memory.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/gpu/count_cases.h"
#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/start.h"
#include "tests/simt/runtime/access_counts.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/kernels.h"

namespace sluice::bench {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t kFirstBlocks = 2;
constexpr uint32_t kFirstTiles = 1;  // all of a matrix's are alike

constexpr const char* kClassNames[simt::kInstructionClasses] = {
    "global load", "global store", "shared load", "shared store", "other load", "other store", "atomic",   "async copy",
    "integer",     "float",        "dot",         "matrix",       "conversion", "move",        "exchange", "control"};

using Numbers = std::map<std::string, double>;

void add_line(Numbers& numbers, const std::string& way, const simt::LineCounts& line) {
  numbers[way + " requests"] += static_cast<double>(line.requests);
  numbers[way + " bytes"] += static_cast<double>(line.bytes_asked);
  if (line.space == simt::Space::Shared) {
    numbers[way + " wavefronts"] += static_cast<double>(line.wavefronts);
    numbers[way + " least wavefronts"] += static_cast<double>(line.least_wavefronts);
  } else {
    numbers[way + " sectors"] += static_cast<double>(line.sectors);
    numbers[way + " least sectors"] += static_cast<double>(line.least_sectors);
  }
}

std::string way_of(const simt::LineCounts& line) {
  const std::string space = line.space == simt::Space::Shared ? "shared " : "global ";
  switch (line.kind) {
    case simt::SiteKind::AsyncRead:
    case simt::SiteKind::AsyncWrite:
      return space + "copy";
    case simt::SiteKind::Store:
    case simt::SiteKind::StrongStore:
      return space + "store";
    case simt::SiteKind::Atomic:
      return space + "atomic";
    default:
      return space + "load";
  }
}

// Of the first n_blocks along an axis of the grid.
Numbers count(kernels::cuda::Launch launch, int axis, uint32_t n_blocks, std::string& kernel) {
  launch.grid[axis] = n_blocks;
  simt::count_accesses(UINT64_MAX);
  cudaError_t error = kernels::cuda::start(launch, nullptr);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  simt::count_accesses(0);
  const std::vector<std::string> findings = simt::take_findings();
  if (error != cudaSuccess || !findings.empty())
    throw std::runtime_error(std::string("The launch '") + launch.name +
                             "' failed: " + (findings.empty() ? cudaGetErrorString(error) : findings[0].c_str()));
  const std::vector<simt::AccessCounts> all = simt::take_access_counts();
  if (all.size() != 1) throw std::runtime_error(std::string("The launch '") + launch.name + "' was not counted.");
  const simt::AccessCounts& counts = all[0];
  kernel = counts.kernel;
  Numbers numbers;
  numbers["sectors read"] = static_cast<double>(counts.sectors_read);
  numbers["sectors written"] = static_cast<double>(counts.sectors_written);
  numbers["distinct sectors read"] = static_cast<double>(counts.distinct_sectors_read);
  numbers["distinct bytes read"] = static_cast<double>(counts.distinct_bytes_read);
  for (const simt::LineCounts& line : counts.lines) add_line(numbers, way_of(line), line);
  for (size_t i = 0; i < simt::kInstructionClasses; ++i)
    if (counts.instructions[i] != 0)
      numbers[std::string("instructions: ") + kClassNames[i]] = static_cast<double>(counts.instructions[i]);
  return numbers;
}

Json shape_of(const kernels::cuda::Launch& launch) {
  kernels::cuda::GemvArguments a;
  if (std::strncmp(launch.name, "multiply ", 9) != 0 || std::strncmp(launch.name, "multiply tiles", 14) == 0 ||
      launch.argument_bytes != sizeof a)
    return nullptr;
  std::memcpy(static_cast<void*>(&a), launch.arguments, sizeof a);
  return {{"lanes", 1 << a.log2_lanes},       {"units_a_row", a.units_a_row},
          {"units_a_piece", a.units_a_piece}, {"n_pieces", a.n_pieces},
          {"n_rounds", a.n_rounds},           {"piece_bytes", a.piece_bytes},
          {"row_bytes", a.row_bytes},         {"n_used", a.n_used},
          {"n_outputs", a.n_outputs},         {"n_columns", a.n_columns},
          {"mode", static_cast<int>(a.mode)}};
}

Json count_case(const CountCase& one) {
  const kernels::cuda::Launch& launch = one.launch;
  const int axis = static_cast<int>(std::max_element(launch.grid, launch.grid + 3) - launch.grid);
  const uint32_t n_blocks = launch.grid[axis];
  std::string kernel;
  Numbers whole;
  const uint32_t n_first = std::strncmp(launch.name, "multiply tiles", 14) == 0 ? kFirstTiles : kFirstBlocks;
  const bool is_sampled = n_blocks > 2 * n_first;
  if (is_sampled) {
    const Numbers first = count(launch, axis, n_first, kernel);
    whole = count(launch, axis, 2 * n_first, kernel);
    for (auto& [name, value] : whole) {
      const auto found = first.find(name);
      const double before = found == first.end() ? 0 : found->second;
      value = before + (value - before) * (n_blocks - n_first) / n_first;
    }
  } else {
    whole = count(launch, axis, n_blocks, kernel);
  }
  Json json{{"model", one.model},
            {"place", one.place},
            {"format", one.format},
            {"name", launch.name},
            {"kernel", kernel},
            {"grid", launch.grid},
            {"block", launch.block[0] * launch.block[1] * launch.block[2]},
            {"dynamic_shared_bytes", launch.shared_bytes},
            {"weights", one.weights},
            {"weight_bytes", one.weight_bytes},
            {"other_bytes", one.other_bytes},
            {"n_inputs", one.n_inputs},
            {"is_sampled", is_sampled},
            {"counts", whole}};
  if (std::strncmp(launch.name, "multiply tiles", 14) == 0) json["n_columns"] = one.n_columns;
  if (one.n_stages != 0) json["n_stages"] = one.n_stages;
  if (const Json shape = shape_of(launch); !shape.is_null()) json["shape"] = shape;
  return json;
}

}  // namespace

}  // namespace sluice::bench

// count_kernels [--tiles | --attention | --only WORDS]: decode; products by tiles; attention of many rows; of decode what is at places that
// begin with these words.
int main(int argc, char** argv) {
  using namespace sluice::bench;
  try {
    sluice::simt::grid_options().check = false;  // the tests check; this only counts
    const std::string mode = argc >= 2 ? argv[1] : "", only = argc == 3 && mode == "--only" ? argv[2] : "";
    Json all = Json::array();
    (mode == "--tiles" ? visit_tile_cases : visit_count_cases)(allocate_case_memory(), [&](const CountCase& one) {
      if (one.place.starts_with("prefill") == (mode == "--attention") && one.place.starts_with(only))
        all.push_back(count_case(one));
    });
    std::cout << all.dump(1) << "\n";
  } catch (const std::exception& error) {
    std::cerr << "count_kernels: " << error.what() << "\n";
    return 1;
  }
}
