#include "bench/virtual_time/launch_times.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/virtual_time/skeleton.h"
#include "kernels/cuda/gemv_together.cuh"
#include "kernels/cuda/residual_norm_arguments.h"
#include "kernels/format.h"

namespace sluice::bench {
namespace {

namespace gpu = kernels::cuda;

constexpr const char* kR1 = "DeepSeek-R1";
constexpr const char* kLlama = "Llama-8B";
constexpr const char* kQwen = "Qwen3-30B";
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

template <class Arguments>
Arguments arguments_of(const simt::KernelLaunch& launch) {
  Arguments arguments;
  if (launch.parameters.size() != sizeof arguments) refuse(launch, "its arguments have another size");
  std::memcpy(static_cast<void*>(&arguments), launch.parameters.data(), sizeof arguments);
  return arguments;
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
  if (is("multiply_rows")) return scale * product_seconds(launch);
  if (is("multiply_several")) return scale * together_seconds(launch);
  // Turning the heads beside it takes less than a head's product, and no more SMs than there are.
  if (is("multiply_across")) return scale * predicted_.of(kR1, "kv_b, across", "Q6_K");
  if (is("residual_norm_rows")) return norm_seconds(launch);
  if (is("finish_heads_of_rows")) return scale * heads_seconds();
  if (is("attend_tiles")) return scale * attention_seconds("attend");
  if (is("join_pieces")) return scale * join_seconds();
  if (is("multiply_and_choose")) {
    // One behind the other, the second by the last thread block of the first.
    const double own = predicted_.of(kR1, "router", "F32") + predicted_.of(kR1, "route", "");
    return scale * own + (options_.shares_layers ? over_pcie(kRowBytes) : 0);
  }
  if (is("note_moment")) return predicted_.start_seconds;  // one thread writes the time
  // The answer of the layer before, where it comes late; the wait before it is a node of the graph as well.
  if (is("add_rows_of_host")) return predicted_.gap_seconds + predicted_.start_seconds + over_pcie(kRowBytes);
  if (is("each_element")) return scale * predicted_.of(kR1, "rope", "");  // copies of rows
  refuse(launch, "its kernel is none of a pass of R1");
}

// Between two counted contexts, and below the first, along the straight line through both.
double LaunchTimes::attention_seconds(const char* kernel) const {
  const double at_4096 = predicted_.of(kR1, std::string(kernel) + " at 4096", "F16");
  const double at_32768 = predicted_.of(kR1, std::string(kernel) + " at 32768", "F16");
  return std::max(predicted_.start_seconds,
                  at_4096 + (options_.n_positions - 4096) * (at_32768 - at_4096) / (32768 - 4096));
}

double LaunchTimes::norm_seconds(const simt::KernelLaunch& launch) const {
  const double own = options_.kernel_scale * predicted_.of(kR1, "norm, quantise", "");
  if (arguments_of<gpu::ResidualNormArguments>(launch).answer.head == nullptr) return own;
  // The wait before it is a node of the graph as well.
  return own + predicted_.gap_seconds + over_pcie(kRowBytes);
}

// Where the launch itself was not counted: what it is made of, one behind the other, each with a begin of its own.
double LaunchTimes::heads_seconds() const {
  if (predicted_.has(kR1, "finish heads", "")) return predicted_.of(kR1, "finish heads", "");
  return 2 * predicted_.of(kQwen, "norm, quantise", "") + predicted_.of(kR1, "quantise", "") +
         predicted_.of(kR1, "rope", "") + predicted_.of(kLlama, "store cache", "");
}

double LaunchTimes::join_seconds() const {
  if (predicted_.has(kR1, "join, quantise at 4096", "F16")) return attention_seconds("join, quantise");
  return attention_seconds("join") + predicted_.of(kR1, "quantise", "");
}

// Each begins with the launch, and there are thread blocks of all of them from the begin on.
double LaunchTimes::together_seconds(const simt::KernelLaunch& launch) {
  const auto arguments = arguments_of<gpu::TogetherArguments>(launch);
  double all = predicted_.start_seconds;
  int32_t end = 0;
  for (const gpu::GemvPart& part : arguments.parts) {
    if (part.end_block == end) continue;
    end = part.end_block;
    const Matrix& matrix = known(launch, part.weights);
    all += std::max(0.0, predicted_.of(kR1, matrix.place, matrix.format) - predicted_.start_seconds);
  }
  return all;
}

// What the last warps of a launch do behind its products: no less than a launch of its own would take, without the gap before it.
double LaunchTimes::forms_seconds(const simt::KernelLaunch& launch, const gpu::GemvArguments& arguments) const {
  if (arguments.after.forms.n_done == nullptr) return 0;
  if (arguments.mode != gpu::GemvMode::GateUp) return predicted_.of(kR1, "quantise", "");
  if (arguments.places != nullptr) return predicted_.of(kR1, "experts quantise", "IQ1_S");
  // Of dense layers the stand-in is Llama's, of 14336.
  const bool is_dense = std::strcmp(known(launch, arguments.weights).place, "dense gate") == 0;
  return predicted_.of(is_dense ? kLlama : kR1, "swiglu, quantise", "");
}

const LaunchTimes::Matrix& LaunchTimes::known(const simt::KernelLaunch& launch, const std::byte* weights) const {
  const auto found = matrices_.find(weights);
  if (found == matrices_.end()) refuse(launch, "it reads no known matrix");
  return found->second;
}

double LaunchTimes::product_seconds(const simt::KernelLaunch& launch) {
  const auto arguments = arguments_of<gpu::GemvArguments>(launch);
  const double forms = forms_seconds(launch, arguments);
  if (arguments.places == nullptr) {
    const Matrix& matrix = known(launch, arguments.weights);
    const double one = predicted_.of(kR1, matrix.place, matrix.format);
    if (std::strcmp(matrix.place, "kv_b, across") == 0) return one + forms;  // all heads
    // Gate and up in one launch begin once.
    const double n = arguments.mode == gpu::GemvMode::GateUp ? 2 : launch.grid.z;
    return predicted_.start_seconds + n * std::max(0.0, one - predicted_.start_seconds) + forms;
  }
  return experts_seconds(launch, arguments) + forms;
}

double LaunchTimes::experts_seconds(const simt::KernelLaunch& launch, const gpu::GemvArguments& arguments) {
  // Experts: as many as are there.
  if (arguments.mode != gpu::GemvMode::GateUp && arguments.mode != gpu::GemvMode::Down)
    refuse(launch, "R1's gate and up are of one format");
  const bool is_down = arguments.mode == gpu::GemvMode::Down;
  if (arguments.n_used != kExpertsUsed || launch.grid.y != (is_down ? 1u : kExpertsUsed))
    refuse(launch, "it is of more rows than one");
  int n_hits = 0, n_read = 0;
  for (int k = 0; k < arguments.n_used; ++k) {
    const std::byte* const gate = arguments.places[arguments.ids[k]].gate;
    const bool is_in_host = gate >= host_.data() && gate < host_.data() + host_.size();
    n_hits += gate != nullptr && !is_in_host;
    n_read += gate != nullptr && is_in_host;
  }
  const char* const place = is_down ? "experts down" : "experts gate, up";
  if (!is_down) n_hits_ += static_cast<uint64_t>(n_hits);
  const char* format = launch.name.find("IQ1_S") != std::string_view::npos     ? "IQ1_S"
                       : launch.name.find("IQ2_XXS") != std::string_view::npos ? "IQ2_XXS"
                                                                               : nullptr;
  if (format == nullptr) refuse(launch, "R1's experts have another format");
  const double all = predicted_.of(kR1, place, format);
  const double of_hits = predicted_.start_seconds + (all - predicted_.start_seconds) * n_hits / kExpertsUsed;
  if (n_read == 0) return of_hits;
  // Beside the hits, as fast as the link brings them.
  const gguf::TensorType type = format == std::string("IQ1_S") ? gguf::TensorType::IQ1_S : gguf::TensorType::IQ2_XXS;
  const double bytes = static_cast<double>(real_expert_matrix_bytes(type)) * (is_down ? 1 : 2) * n_read;
  return std::max(of_hits, predicted_.start_seconds + over_pcie(bytes));
}

}  // namespace sluice::bench
