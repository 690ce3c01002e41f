#include "tools/machine_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/placement/measure_machine.h"
#include "kernels/cpu/cores.h"
#include "kernels/format.h"
#include "tools/cache_folder.h"
#include "tools/json_file.h"
#include "tools/text_format.h"

namespace sluice::tools {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr double kMostBytes = 1e18, kLeastRate = 1e3, kMostRate = 1e18;

gguf::TensorType type_named(const JsonFile& reader, const std::string& name) {
  for (const kernels::Format& known : kernels::all_formats())
    if (known.layout->name == name) return known.type;
  reader.refuse("'" + printable(name, 60) + "' is no tensor type", "names as `sluice inspect` shows them, as Q4_K");
}

}  // namespace

engine::Machine read_machine(const std::filesystem::path& path) {
  const JsonFile reader(path, "machine file", "`sluice doctor --machine FILE` writes one for this machine");
  const json& object = reader.content();
  engine::Machine machine;
  machine.name = reader.text(object, "name");
  if (machine.name.empty()) machine.name = path.stem().string();
  machine.source = reader.text(object, "source");
  machine.ram_bytes = static_cast<uint64_t>(reader.number(object, "ram_bytes", 1, kMostBytes));
  machine.ram_bytes_per_second = reader.number(object, "ram_bytes_per_second", kLeastRate, kMostRate);
  machine.n_cores = static_cast<uint32_t>(reader.number(object, "cores", 1, 4096));
  machine.disk_bytes_per_second = reader.number(object, "disk_bytes_per_second", kLeastRate, kMostRate);
  machine.cpu_share_beside_disk = reader.number(object, "cpu_share_beside_disk", 0.01, 1);
  machine.attention_multiply_adds_per_second =
      reader.number(object, "attention_multiply_adds_per_second", kLeastRate, kMostRate);
  const json& kernels = reader.member(object, "kernels");
  if (!kernels.is_object() || kernels.empty()) reader.refuse("'kernels' is no object with tensor types", "some");
  for (const auto& [name, rates] : kernels.items()) {
    if (!rates.is_object()) reader.refuse("'" + printable(name, 60) + "' is no object", "rates");
    machine.kernels[type_named(reader, name)] = {
        reader.number(rates, "weights_per_second", kLeastRate, kMostRate),
        rates.contains("form_weights_per_second") ? reader.number(rates, "form_weights_per_second", 0, kMostRate) : 0,
        reader.number(rates, "multiply_adds_per_second", kLeastRate, kMostRate)};
  }
  const auto gpus = object.find("gpus");
  if (gpus == object.end()) return machine;
  if (!gpus->is_array()) reader.refuse("'gpus' is no array", "one, which may be empty");
  for (const json& gpu : *gpus) {
    if (!gpu.is_object()) reader.refuse("an entry of 'gpus' is no object", "objects");
    machine.gpus.push_back({reader.text(gpu, "name"),
                            static_cast<uint64_t>(reader.number(gpu, "vram_bytes", 1, kMostBytes)),
                            reader.number(gpu, "vram_bytes_per_second", kLeastRate, kMostRate),
                            reader.number(gpu, "pcie_bytes_per_second", kLeastRate, kMostRate),
                            reader.number(gpu, "multiply_adds_per_second", kLeastRate, kMostRate)});
  }
  return machine;
}

ordered_json machine_json(const engine::Machine& machine) {
  ordered_json kernels = ordered_json::object();
  const auto rounded = [](double value) { return std::round(value / 1e6) * 1e6; };
  for (const auto& [type, rates] : machine.kernels) {
    ordered_json& row = kernels[std::string(gguf::type_layout(type).name)];
    row["weights_per_second"] = rounded(rates.weights_per_second);
    if (rates.form_weights_per_second > 0) row["form_weights_per_second"] = rounded(rates.form_weights_per_second);
    row["multiply_adds_per_second"] = rounded(rates.multiply_adds_per_second);
  }
  ordered_json gpus = ordered_json::array();
  for (const engine::Gpu& gpu : machine.gpus)
    gpus.push_back({{"name", gpu.name},
                    {"vram_bytes", gpu.vram_bytes},
                    {"vram_bytes_per_second", gpu.vram_bytes_per_second},
                    {"pcie_bytes_per_second", gpu.pcie_bytes_per_second},
                    {"multiply_adds_per_second", gpu.multiply_adds_per_second}});
  return {{"name", machine.name},
          {"source", machine.source},
          {"ram_bytes", machine.ram_bytes},
          {"ram_bytes_per_second", rounded(machine.ram_bytes_per_second)},
          {"cores", machine.n_cores},
          {"disk_bytes_per_second", rounded(machine.disk_bytes_per_second)},
          {"cpu_share_beside_disk", std::round(machine.cpu_share_beside_disk * 100) / 100},
          {"attention_multiply_adds_per_second", rounded(machine.attention_multiply_adds_per_second)},
          {"kernels", kernels},
          {"gpus", gpus}};
}

std::filesystem::path own_machine_path() {
  const std::filesystem::path folder = cache_folder();
  return folder.empty() ? folder : folder / "machine.json";
}

engine::Machine this_machine(const gguf::File& model) {
  const std::filesystem::path own = own_machine_path();
  if (!own.empty() && std::filesystem::exists(own)) return read_machine(own);
  engine::Machine machine = engine::measure_cpu(kernels::usable_cores().default_threads(), engine::measured_types());
  machine.name = "this machine";
  machine.source = "measured just now";
  const std::vector<std::filesystem::path> shards = model.shard_paths();
  engine::measure_disk(machine, [&](const engine::ReadTest& test) { return engine::measure_reads(shards, test); });
  return machine;
}

}  // namespace sluice::tools
