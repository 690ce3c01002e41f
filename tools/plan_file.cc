#include "tools/plan_file.h"

#include <string>
#include <vector>

#include "engine/error.h"
#include "tools/choices.h"
#include "tools/exit_codes.h"
#include "tools/json_file.h"
#include "tools/text_format.h"

namespace sluice::tools {

using nlohmann::json;

static constexpr const char* kHelp = "`sluice plan MODEL --json > FILE` writes one";

template <typename Value, size_t n>
static Value choice(const JsonFile& file, const json& object, const std::string& name, const Words<Value, n>& words) {
  const std::string text = file.text(object, name);
  std::string listed;
  for (const auto& [word, value] : words) {
    if (text == word) return value;
    listed += (listed.empty() ? "" : ", ") + std::string(word);
  }
  file.refuse("'" + name + "' is '" + printable(text, 60) + "'", "one of " + listed);
}

static std::vector<uint64_t> sizes(const JsonFile& file, const json& object, const std::string& name) {
  const json& array = file.member(object, name);
  if (!array.is_array()) file.refuse("'" + name + "' is no array", "one of numbers of bytes, which may be empty");
  std::vector<uint64_t> bytes;
  for (const json& one : array) {
    constexpr double kMost = 1e18;
    if (!one.is_number() || !(one.get<double>() >= 0) || one.get<double>() > kMost)
      file.refuse("an entry of '" + name + "' is no number of bytes", "numbers from 0 to 1e18");
    bytes.push_back(static_cast<uint64_t>(one.get<double>()));
  }
  return bytes;
}

void obey_plan(const std::filesystem::path& path, ModelFlags& flags) {
  const JsonFile file(path, "plan", kHelp);
  const json& fits = file.member(file.content(), "fits");
  if (!fits.is_boolean()) file.refuse("'fits' is neither true nor false", "one of them");
  if (!fits.get<bool>())
    throw engine::Error(
        engine::Error::Kind::OutOfMemory,
        "The plan " + printable(path.string()) +
            " says that the model does not fit; plan with more memory (--ram) or a shorter context (-c).");
  const json& run = file.member(file.content(), "run");
  if (!run.is_object()) file.refuse("'run' is no object", "one");
  const std::vector<uint64_t> vram = sizes(file, run, "vram_bytes");
  flags.session.n_context = static_cast<uint32_t>(file.number(run, "n_context", 1, 1 << 28));
  flags.session.n_batch = static_cast<uint32_t>(file.number(run, "n_batch", 1, 1 << 20));
  flags.model.sharing.most_streamed_rows = static_cast<uint32_t>(file.number(run, "streamed_rows", 0, 1 << 20));
  flags.session.cache = choice(file, run, "cache", kCacheWords);
  flags.model.residency = choice(file, run, "resident", kResidencyWords);
  flags.model.store.storage = choice(file, run, "store", kStorageWords);
  flags.model.store.ram_bytes = static_cast<uint64_t>(file.number(run, "ram_bytes", 1, 1e18));
  // A machine file has the fastest GPU first, and so has the driver. One without layers has no part in it.
  std::vector<int> gpus;
  for (size_t i = 0; i < vram.size(); ++i) {
    if (vram[i] == 0) continue;
    gpus.push_back(static_cast<int>(i));
    flags.model.vram_bytes_of_gpus.push_back(vram[i]);
  }
  flags.model.device = gpus.empty() ? engine::DeviceKind::Cpu : engine::DeviceKind::Cuda;
  if (flags.model.gpus.empty()) flags.model.gpus = gpus;
  flags.planned_bytes =
      static_cast<uint64_t>(file.number(file.member(file.content(), "model"), "tensor_bytes", 1, 1e18));
}

void check_planned_model(const ModelFlags& flags) {
  if (flags.planned_bytes == 0) return;
  const uint64_t bytes = gguf::File::open(flags.path, gguf::Mapping::DirectoryOnly).tensor_bytes();
  if (bytes == flags.planned_bytes) return;
  throw UsageError("the plan is for another model than " + printable(flags.path) +
                   format("; found %llu bytes of weights, expected %llu; plan this one",
                          static_cast<unsigned long long>(bytes),
                          static_cast<unsigned long long>(flags.planned_bytes)));
}

}  // namespace sluice::tools
