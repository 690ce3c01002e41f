#include "bench/virtual_time/launch_times.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/virtual_time/skeleton.h"
#include "kernels/cuda/gemv_arguments.h"
#include "kernels/format.h"

namespace sluice::bench {
namespace {

namespace gpu = kernels::cuda;

constexpr const char* kR1 = "DeepSeek-R1";
constexpr const char* kQwen = "Qwen3-30B";
constexpr const char* kLlama = "Llama-8B";
// Of a layer's inputs and results, in the meeting's memory.
constexpr double kRowBytes = kRealEmbedding * 4.0;

std::string format_name(gguf::TensorType type) {
  return std::string(kernels::format_of(type).layout->name);
}

[[noreturn]] void refuse(const simt::KernelLaunch& launch, const std::string& why) {
  throw std::runtime_error("A launch cannot be named: " + std::string(launch.name) + " with a grid of " +
                           std::to_string(launch.grid.x) + " x " + std::to_string(launch.grid.y) + " x " +
                           std::to_string(launch.grid.z) + ": " + why +
                           ". bench/virtual_time/launch_times.cc names them.");
}

}  // namespace

double PredictedLaunches::of(const char* model, const std::string& place, const std::string& format) const {
  const auto found = seconds.find({model, place, format});
  if (found == seconds.end())
    throw std::runtime_error("No time was predicted for " + place + " of " + model + " in " + format +
                             "; bench/gpu_counts.py --times writes them.");
  return found->second;
}

PredictedLaunches read_predicted_launches(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + " cannot be read.");
  const nlohmann::json json = nlohmann::json::parse(file);
  PredictedLaunches made;
  made.gpu = json.at("gpu");
  made.gap_seconds = json.at("launch_gap_us").get<double>() * 1e-6;
  made.start_seconds = json.at("launch_start_us").get<double>() * 1e-6;
  for (const auto& one : json.at("launches"))
    made.seconds[{one.at("model"), one.at("place"), one.at("format")}] = one.at("us").get<double>() * 1e-6;
  return made;
}

LaunchTimes::LaunchTimes(PredictedLaunches predicted, const LaunchTimesOptions& options)
    : predicted_(std::move(predicted)), options_(options) {}

void LaunchTimes::know(const engine::ModelWeights& weights) {
  matrices_.clear();
  const auto add = [&](const engine::Linear& matrix, const char* place) {
    matrices_[matrix.data] = {place, format_name(matrix.type)};
  };
  for (const engine::LayerWeights& layer : weights.layers) {
    const auto& attention = std::get<engine::LatentWeights>(layer.attention);
    add(attention.query_down, "q_a");
    add(attention.query_up, "q_b");
    add(attention.latent_down, "kv_a");
    add(attention.value_up.front(), "kv_b, across");  // stand-in: the values' part, along the rows
    add(attention.output, "o");
    if (const auto* dense = std::get_if<engine::DenseWeights>(&layer.ffn)) {
      add(dense->gate, "dense gate");
      add(dense->up, "dense gate");
      add(dense->down, "dense down");
      continue;
    }
    const auto& experts = std::get<engine::ExpertsWeights>(layer.ffn);
    add(experts.router, "router");
    add(experts.shared.gate, "shared gate");
    add(experts.shared.up, "shared gate");
    add(experts.shared.down, "shared down");
  }
  for (const engine::Linear& piece : weights.output) add(piece, "output");
}

double LaunchTimes::seconds(const simt::KernelLaunch& launch) {
  ++n_launches_;
  return predicted_.gap_seconds + own_seconds(launch);
}

double LaunchTimes::own_seconds(const simt::KernelLaunch& launch) {
  const auto is = [&](std::string_view kernel) { return launch.name.find(kernel) != std::string_view::npos; };
  const double scale = options_.kernel_scale;
  const auto named = [&](const char* name, double own) {
    last_ = name;
    return scale * own;
  };
  if (is("multiply_rows")) return scale * product_seconds(launch);
  if (is("multiply_across")) return named("kv_b, across", predicted_.of(kR1, "kv_b, across", "Q6_K"));
  if (is("residual_norm_rows")) return named("norm", predicted_.of(kR1, "norm, quantise", ""));
  if (is("norm_groups")) return named("low norm", predicted_.of(kQwen, "norm, quantise", ""));  // of q_a and latent
  if (is("quantize_rows")) return named("quantise", quantize_seconds(launch));
  if (is("rotate_pairs")) return named("rope", predicted_.of(kR1, "rope", ""));
  if (is("store_cache")) return named("store", predicted_.of(kLlama, "store cache", ""));
  if (is("attend_page")) return named("attend", attention_seconds("attend"));
  if (is("join_pages")) return named("join", attention_seconds("join"));
  if (is("route_rows")) return named("route", predicted_.of(kR1, "route", ""));
  if (is("each_element")) return named("rows", predicted_.of(kR1, "rope", ""));  // sums and copies of rows
  if (is("publish_rows")) {
    last_ = "publish";
    return scale * predicted_.start_seconds + over_pcie(kRowBytes);
  }
  if (is("note_moment")) {
    last_ = "arrive";
    return scale * predicted_.start_seconds;
  }
  if (is("add_rows_of_host")) {
    last_ = "add";
    // The wait before it is a node of the graph as well.
    return scale * predicted_.start_seconds + predicted_.gap_seconds + over_pcie(kRowBytes);
  }
  refuse(launch, "its kernel is none of a pass of R1");
}

// Between two counted contexts, and below the first, along the straight line through both.
double LaunchTimes::attention_seconds(const char* kernel) const {
  const double at_4096 = predicted_.of(kR1, std::string(kernel) + " at 4096", "F16");
  const double at_32768 = predicted_.of(kR1, std::string(kernel) + " at 32768", "F16");
  return std::max(predicted_.start_seconds,
                  at_4096 + (options_.n_positions - 4096) * (at_32768 - at_4096) / (32768 - 4096));
}

double LaunchTimes::quantize_seconds(const simt::KernelLaunch& launch) const {
  if (last_ == "experts gate, up") return predicted_.of(kR1, "experts quantise", "IQ1_S");
  if (last_ == "shared gate") return predicted_.of(kR1, "swiglu, quantise", "");
  if (last_ == "dense gate") return predicted_.of(kLlama, "swiglu, quantise", "");  // stand-in, of 14336
  // Of q_a, of the heads' latents, and of what attention gave: the last is the one that was counted.
  if (last_ == "low norm" || last_ == "join" || last_ == "kv_b values") return predicted_.of(kR1, "quantise", "");
  refuse(launch, "nothing is quantised behind '" + last_ + "'");
}

double LaunchTimes::product_seconds(const simt::KernelLaunch& launch) {
  gpu::GemvArguments arguments;
  if (launch.parameters.size() != sizeof arguments) refuse(launch, "its arguments have another size");
  std::memcpy(&arguments, launch.parameters.data(), sizeof arguments);
  if (arguments.mode == gpu::GemvMode::Products) {
    const auto found = matrices_.find(arguments.weights);
    if (found == matrices_.end()) refuse(launch, "it reads no known matrix");
    const Matrix& matrix = found->second;
    const bool is_values = std::strcmp(matrix.place, "kv_b, across") == 0;
    last_ = is_values ? "kv_b values" : matrix.place;
    const double one = predicted_.of(kR1, matrix.place, matrix.format);
    if (is_values) return one;  // all heads
    // Gate and up side by side begin once.
    return predicted_.start_seconds + launch.grid.z * std::max(0.0, one - predicted_.start_seconds);
  }
  // Experts: as many as are there.
  if (arguments.mode != gpu::GemvMode::GateUp && arguments.mode != gpu::GemvMode::Down)
    refuse(launch, "R1's gate and up are of one format");
  const bool is_down = arguments.mode == gpu::GemvMode::Down;
  if (arguments.n_used != kExpertsUsed || launch.grid.y != (is_down ? 1u : kExpertsUsed))
    refuse(launch, "it is of more rows than one");
  int n_hits = 0, n_read = 0;
  for (int k = 0; k < arguments.n_used; ++k) {
    const std::byte* const place = arguments.places[arguments.ids[k]].gate;
    const bool is_in_host = place >= host_.data() && place < host_.data() + host_.size();
    n_hits += place != nullptr && !is_in_host;
    n_read += place != nullptr && is_in_host;
  }
  last_ = is_down ? "experts down" : "experts gate, up";
  if (!is_down) n_hits_ += static_cast<uint64_t>(n_hits);
  const char* format = launch.name.find("IQ1_S") != std::string_view::npos     ? "IQ1_S"
                       : launch.name.find("IQ2_XXS") != std::string_view::npos ? "IQ2_XXS"
                                                                               : nullptr;
  if (format == nullptr) refuse(launch, "R1's experts have another format");
  const double all = predicted_.of(kR1, last_, format);
  const double of_hits = predicted_.start_seconds + (all - predicted_.start_seconds) * n_hits / kExpertsUsed;
  if (n_read == 0) return of_hits;
  // Beside the hits, as fast as the link brings them.
  const gguf::TensorType type = format == std::string("IQ1_S") ? gguf::TensorType::IQ1_S : gguf::TensorType::IQ2_XXS;
  const double bytes = static_cast<double>(real_expert_matrix_bytes(type)) * (is_down ? 1 : 2) * n_read;
  return std::max(of_hits, predicted_.start_seconds + over_pcie(bytes));
}

}  // namespace sluice::bench
