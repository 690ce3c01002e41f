// sluice inspect: what is in a model file, from its headers alone; or what the kernels find in this machine's CPU.
#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "gguf/file.h"
#include "tools/commands.h"
#include "tools/cpu_report.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/tensor_roles.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

using nlohmann::ordered_json;

static constexpr size_t kShownElements = 6;
static constexpr size_t kShownCharacters = 100;

static constexpr const char* kInspectNotes = R"(
Reads the headers only, so it is as fast on the largest file as on the smallest. Shapes are written [rows, columns], the
contiguous dimension last. Long arrays and texts of the metadata are shortened, saying by how much, unless --full is given.

Examples:
  sluice inspect model.gguf
  sluice inspect model-00001-of-00003.gguf --sizes
  sluice inspect model.gguf --json | jq .sizes.by_role
  sluice inspect --cpu
)";

struct InspectFlags {
  std::string model;
  bool metadata = false;
  bool tensors = false;
  bool sizes = false;
  bool full = false;
  bool json = false;
  bool cpu = false;
};

// Tensors, values and bytes of one kind.
struct Sum {
  uint64_t n_tensors = 0;
  uint64_t n_values = 0;
  uint64_t bytes = 0;

  void add(const gguf::Tensor& tensor) {
    n_tensors++;
    n_values += tensor.n_values;
    bytes += tensor.bytes;
  }
  double bits_per_value() const {
    return n_values == 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(n_values);
  }
};

struct Sizes {
  Sum all;
  std::map<gguf::TensorType, Sum> by_type;
  std::array<Sum, kTensorRoles> by_role;
};

static Sizes measure(const gguf::File& file) {
  Sizes sizes;
  for (const gguf::Tensor& tensor : file.tensors()) {
    sizes.all.add(tensor);
    sizes.by_type[tensor.type].add(tensor);
    sizes.by_role[static_cast<size_t>(tensor_role(tensor.name))].add(tensor);
  }
  return sizes;
}

static std::vector<uint64_t> shape(const gguf::Tensor& tensor) {
  std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
  std::reverse(dims.begin(), dims.end());
  return dims;
}

static std::string shape_text(const gguf::Tensor& tensor) {
  std::string text;
  for (uint64_t size : shape(tensor)) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

// The first elements of an array; the whole value otherwise.
static ordered_json value_json(const gguf::Value& value, size_t max_elements);

static ordered_json array_json(const gguf::Array& array, size_t max_elements) {
  ordered_json elements = ordered_json::array();
  auto take = [&](const auto& values) {
    for (size_t i = 0; i < std::min<size_t>(values.size(), max_elements); i++) elements.push_back(values[i]);
  };
  if (array.element_type == gguf::ValueType::Bool) {
    for (size_t i = 0; i < std::min<size_t>(array.unsigned_values.size(), max_elements); i++) {
      elements.push_back(array.unsigned_values[i] != 0);
    }
  } else {
    take(array.unsigned_values);
  }
  take(array.signed_values);
  take(array.float_values);
  take(array.strings);
  for (size_t i = 0; i < std::min<size_t>(array.arrays.size(), max_elements); i++) {
    elements.push_back(array_json(array.arrays[i], max_elements));
  }
  if (array.size() <= max_elements) return elements;
  return {{"element_type", gguf::value_type_name(array.element_type)}, {"count", array.size()}, {"first", elements}};
}

static ordered_json value_json(const gguf::Value& value, size_t max_elements) {
  return std::visit(
      [&](const auto& held) -> ordered_json {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::shared_ptr<const gguf::Array>>) {
          return held ? array_json(*held, max_elements) : ordered_json::array();
        } else {
          return held;
        }
      },
      value.data);
}

static std::string dump(const ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

// A float of 32 bits with no more digits than it has: 1e-06, not 9.999999974752427e-07.
static std::string element_text(const ordered_json& element, gguf::ValueType type) {
  if (type != gguf::ValueType::Float32 || !element.is_number_float()) return dump(element);
  std::array<char, 32> digits{};
  auto [end, failure] = std::to_chars(digits.data(), digits.data() + digits.size(), element.get<float>());
  return failure == std::errc() ? std::string(digits.data(), end) : dump(element);
}

static std::string value_text(const gguf::Value& value, bool full) {
  size_t max_characters = full ? SIZE_MAX : kShownCharacters;
  if (const auto* text = std::get_if<std::string>(&value.data)) return printable(*text, max_characters);
  const auto* array = std::get_if<std::shared_ptr<const gguf::Array>>(&value.data);
  if (array == nullptr || !*array) return element_text(value_json(value, 0), value.type);
  ordered_json shown = array_json(**array, full ? SIZE_MAX : kShownElements);
  bool shortened = shown.is_object();
  if (shortened) shown = ordered_json(shown["first"]);
  std::string text;
  for (const ordered_json& element : shown) {
    text += (text.empty() ? "" : ", ") + printable(element_text(element, (*array)->element_type), max_characters);
  }
  if (shortened) text += ", ... " + format_count((*array)->size() - kShownElements) + " more";
  return "[" + text + "]";
}

static std::string type_text(const gguf::Value& value) {
  const auto* array = std::get_if<std::shared_ptr<const gguf::Array>>(&value.data);
  if (array == nullptr || !*array) return std::string(gguf::value_type_name(value.type));
  return std::string(gguf::value_type_name((*array)->element_type)) + "[" + std::to_string((*array)->size()) + "]";
}

static std::string summary_text(const gguf::File& file, const Sizes& sizes) {
  std::string text;
  uint64_t file_bytes = 0;
  for (const gguf::Shard& shard : file.shards()) file_bytes += shard.file_bytes;
  text +=
      format("GGUF version %u, alignment %llu, ", file.version(), static_cast<unsigned long long>(file.alignment()));
  text += format_count(file.metadata().entries().size()) + " metadata entries, " + format_count(sizes.all.n_tensors) +
          " tensors, " + format_bytes(file_bytes) + " in " + format_count(file.shards().size()) +
          (file.shards().size() == 1 ? " file\n" : " shards\n");
  for (const gguf::Shard& shard : file.shards()) {
    text += "  " + printable(shard.path.string()) + "  " + format_count(shard.file_bytes) + " bytes\n";
  }
  return text;
}

static std::string metadata_text(const gguf::File& file, bool full) {
  std::string text = "\nmetadata\n";
  size_t key_width = 0;
  size_t type_width = 0;
  for (const auto& entry : file.metadata().entries()) {
    key_width = std::max(key_width, std::min<size_t>(printable(entry.key).size(), 48));
    type_width = std::max(type_width, type_text(entry.value).size());
  }
  for (const auto& entry : file.metadata().entries()) {
    text += format("  %-*s  %-*s  ", static_cast<int>(key_width), printable(entry.key).c_str(),
                   static_cast<int>(type_width), type_text(entry.value).c_str()) +
            value_text(entry.value, full) + "\n";
  }
  return text;
}

static std::string tensors_text(const gguf::File& file) {
  size_t name_width = 4;
  size_t shape_width = 5;
  for (const gguf::Tensor& tensor : file.tensors()) {
    name_width = std::max(name_width, std::min<size_t>(printable(tensor.name).size(), 48));
    shape_width = std::max(shape_width, shape_text(tensor).size());
  }
  std::string text = format("\ntensors\n  %-*s  %-7s  %-*s  %15s  %15s  %s\n", static_cast<int>(name_width), "name",
                            "type", static_cast<int>(shape_width), "shape", "bytes", "offset", "shard");
  for (const gguf::Tensor& tensor : file.tensors()) {
    text += format("  %-*s  %-7s  %-*s  %15s  %15s  %5u\n", static_cast<int>(name_width),
                   printable(tensor.name).c_str(), std::string(gguf::type_layout(tensor.type).name).c_str(),
                   static_cast<int>(shape_width), shape_text(tensor).c_str(), format_count(tensor.bytes).c_str(),
                   format_count(tensor.file_offset).c_str(), tensor.shard + 1);
  }
  return text;
}

static std::string sum_line(std::string_view name, const Sum& sum, const Sum& all) {
  double share = all.bytes == 0 ? 0 : 100 * static_cast<double>(sum.bytes) / static_cast<double>(all.bytes);
  return format("  %-14s  %8s  %18s  %11s  %5.1f%%  %6.3f\n", std::string(name).c_str(),
                format_count(sum.n_tensors).c_str(), format_count(sum.n_values).c_str(),
                format_bytes(sum.bytes).c_str(), share, sum.bits_per_value());
}

static std::string sizes_text(const gguf::File& file, const Sizes& sizes) {
  auto heading = [](const char* title) {
    return format("\n%-16s  %8s  %18s  %11s  %6s  %6s\n", title, "tensors", "weights", "size", "share", "bits");
  };
  std::string text = heading("by type");
  for (const auto& [type, sum] : sizes.by_type) text += sum_line(gguf::type_layout(type).name, sum, sizes.all);
  text += heading("by role");
  for (size_t i = 0; i < sizes.by_role.size(); i++) {
    if (sizes.by_role[i].n_tensors == 0) continue;
    text += sum_line(tensor_role_name(static_cast<TensorRole>(i)), sizes.by_role[i], sizes.all);
  }
  text += heading("together") + sum_line("all", sizes.all, sizes.all);
  const gguf::Value* architecture = file.metadata().find("general.architecture");
  const auto* name = architecture == nullptr ? nullptr : std::get_if<std::string>(&architecture->data);
  if (name != nullptr) {
    const gguf::Value* experts = file.metadata().find(*name + ".expert_count");
    const gguf::Value* used = file.metadata().find(*name + ".expert_used_count");
    if (experts != nullptr && used != nullptr) {
      text += "\nof the routed experts of a layer, " + dump(value_json(*used, 0)) + " of " +
              dump(value_json(*experts, 0)) + " run for a token\n";
    }
  }
  return text;
}

static ordered_json sum_json(const Sum& sum) {
  return {{"tensors", sum.n_tensors},
          {"weights", sum.n_values},
          {"bytes", sum.bytes},
          {"bits_per_weight", sum.bits_per_value()}};
}

static ordered_json file_json(const gguf::File& file, const Sizes& sizes, const InspectFlags& flags) {
  ordered_json json = {{"version", file.version()}, {"alignment", file.alignment()}};
  for (const gguf::Shard& shard : file.shards()) {
    json["shards"].push_back(
        {{"path", shard.path.string()}, {"bytes", shard.file_bytes}, {"data_offset", shard.data_offset}});
  }
  if (flags.metadata) {
    ordered_json& metadata = json["metadata"] = ordered_json::object();
    for (const auto& entry : file.metadata().entries()) {
      metadata[entry.key] = value_json(entry.value, flags.full ? SIZE_MAX : kShownElements);
    }
  }
  if (flags.tensors) {
    ordered_json& tensors = json["tensors"] = ordered_json::array();
    for (const gguf::Tensor& tensor : file.tensors()) {
      tensors.push_back({{"name", tensor.name},
                         {"type", gguf::type_layout(tensor.type).name},
                         {"shape", shape(tensor)},
                         {"bytes", tensor.bytes},
                         {"offset", tensor.file_offset},
                         {"shard", tensor.shard},
                         {"role", tensor_role_name(tensor_role(tensor.name))}});
    }
  }
  if (flags.sizes) {
    ordered_json& parts = json["sizes"] = ordered_json::object();
    for (const auto& [type, sum] : sizes.by_type) {
      parts["by_type"][std::string(gguf::type_layout(type).name)] = sum_json(sum);
    }
    for (size_t i = 0; i < sizes.by_role.size(); i++) {
      std::string name(tensor_role_name(static_cast<TensorRole>(i)));
      if (sizes.by_role[i].n_tensors > 0) parts["by_role"][name] = sum_json(sizes.by_role[i]);
    }
    parts["all"] = sum_json(sizes.all);
  }
  return json;
}

static int inspect(InspectFlags& flags) {
  if (flags.cpu) {
    write_stdout(cpu_text());
    return kExitOk;
  }
  if (flags.model.empty()) throw UsageError("inspect needs a MODEL, or --cpu");
  if (!flags.metadata && !flags.tensors && !flags.sizes) flags.metadata = flags.tensors = flags.sizes = true;
  gguf::File file = gguf::File::open(flags.model, gguf::Mapping::DirectoryOnly);
  Sizes sizes = measure(file);
  if (flags.json) {
    write_stdout(dump(file_json(file, sizes, flags), 2) + "\n");
    return kExitOk;
  }
  std::string text = summary_text(file, sizes);
  if (flags.metadata) text += metadata_text(file, flags.full);
  if (flags.tensors && sizes.all.n_tensors > 0) text += tensors_text(file);
  if (flags.sizes && sizes.all.n_tensors > 0) text += sizes_text(file, sizes);
  write_stdout(text);
  return kExitOk;
}

Action prepare_inspect(CLI::App& app) {
  auto flags = std::make_shared<InspectFlags>();
  add_positional(app, "MODEL", flags->model, "GGUF file, or any shard of one");
  add_switch(app, "--metadata", flags->metadata, "The metadata; with --tensors and --sizes picks what to show");
  add_switch(app, "--tensors", flags->tensors, "The table of tensors");
  add_switch(app, "--sizes", flags->sizes, "Sizes by type and by role");
  add_switch(app, "--full", flags->full, "Shorten nothing");
  add_switch(app, "--json", flags->json, "Print one JSON object");
  add_switch(app, "--cpu", flags->cpu,
             "Instead of a file: instruction sets found and chosen, and which serves each kernel")
      .excludes("MODEL");
  set_notes(app, kInspectNotes);
  return [flags] { return inspect(*flags); };
}

}  // namespace sluice::tools
