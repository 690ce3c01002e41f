#include "engine/device/cuda/heads.h"

#include <algorithm>
#include <vector>

#include "engine/device/cuda/input.h"
#include "kernels/cuda/heads.h"

namespace sluice::engine::cuda {

// Each row's place in a cache is a cell.
static constexpr int64_t kMostRows = 32;

static bool fits(const HeadPart& part) {
  const int64_t size = part.x.n_cols / part.n_heads;
  return size <= kernels::cuda::kMostHeadColumns &&
         (part.norm == nullptr || part.n_heads == 1 || part.norm->size == size);
}

bool append_heads(Pass& pass, std::span<const HeadPart> parts, const HeadTurn& turn,
                  const kernels::cuda::Activations* forms) {
  const int64_t n_rows = parts[0].x.n_rows;
  if (parts.size() > kernels::cuda::kMostHeadParts || n_rows > kMostRows || !std::ranges::all_of(parts, fits))
    return false;
  kernels::cuda::HeadsCall call;
  for (const HeadPart& part : parts) {
    kernels::cuda::HeadPart& to = call.parts[call.n_parts++];
    to.x = float_rows(part.x);
    to.n_heads = part.n_heads;
    to.size = part.x.n_cols / part.n_heads;
    if (part.norm != nullptr) {
      to.norm = part.norm->data;
      to.n_normed = part.norm->size;
    }
    to.turned_from = part.turned_from;
    if (part.runs.empty()) continue;
    std::vector<void*> places(static_cast<size_t>(n_rows));
    for (const CacheRun& run : part.runs)
      for (int64_t i = 0; i < run.n_rows; ++i)
        places[static_cast<size_t>(run.first_row + i)] = static_cast<std::byte*>(run.to) + i * part.row_bytes;
    to.places = pass.cells(std::span<void* const>(places));
    to.type = part.type;
    to.head_bytes = part.head_bytes;
  }
  if (forms != nullptr) {
    call.forms = *forms;
    call.not_finite = pass.not_finite();
  }
  call.epsilon = turn.epsilon;
  call.pairs = turn.pairs;
  call.cosines = float_rows(turn.cosines);
  call.sines = float_rows(turn.sines);
  kernels::cuda::finish_heads(pass.launches(), call);
  return true;
}

}  // namespace sluice::engine::cuda
