// sluice doctor: what this machine has and allows, and how fast its memory and disk are.
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/placement/measure_machine.h"
#include "gguf/file.h"
#include "kernels/cpu/cores.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/rates.h"
#include "kernels/cpu/thread_pool.h"
#include "tools/commands.h"
#include "tools/doctor_report.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/machine_file.h"
#include "tools/terminal.h"
#include "tools/text_format.h"

namespace sluice::tools {

static constexpr const char* kDoctorNotes = R"(
Takes about two seconds. The disk is measured where the model lies, with direct reads of at most 1 GiB; without a model in the
current folder, with a file of 256 MiB that is removed again.

Examples:
  sluice doctor
  sluice doctor model.gguf
  sluice doctor --measure
  sluice doctor model.gguf --json | jq .disk.bytes_per_second
)";

struct DoctorFlags {
  std::string model;
  bool json = false;
  bool measures = false;
  std::string machine;  // where the measures go
};

static void find_cpu(Findings& found) {
  const kernels::UsableCores usable = kernels::usable_cores();
  found.n_cores = static_cast<uint32_t>(usable.cores.size());
  found.n_threads = usable.default_threads();
  found.quota = usable.quota;
  try {
    found.isa = kernels::isa_name(kernels::chosen_isa());
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  const char* forced = std::getenv("SLUICE_ISA");
  found.isa_is_forced = forced != nullptr && *forced != '\0';
  using kernels::Isa;
  for (const Isa isa : {Isa::Reference, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni})
    if (kernels::machine_has(isa)) found.isas_found.emplace_back(kernels::isa_name(isa));
  kernels::ThreadPool pool(found.n_threads);
  found.bandwidth = kernels::read_bandwidth(pool);
}

static std::vector<std::filesystem::path> shards_of(const std::string& model) {
  return gguf::File::open(model, gguf::Mapping::DirectoryOnly).shard_paths();
}

// A disk that cannot be measured is a finding, too.
static void find_disk(Findings& found, const std::string& model) {
  const engine::ReadTest test;
  found.disk_reads_in_flight = test.n_in_flight;
  try {
    if (model.empty()) {
      const std::filesystem::path folder = std::filesystem::current_path();
      found.disk_place = printable(folder.string());
      found.disk = engine::measure_reads_in_folder(folder, uint64_t{256} << 20, test);
    } else {
      found.disk_place = printable(model);
      found.disk = engine::measure_reads(shards_of(model), test);
    }
  } catch (const engine::Error& error) {
    found.disk_failure = printable(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    found.disk_failure = printable(error.what());
  }
}

static std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return format("%04d-%02d-%02d", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday);
}

// The numbers that plans are made with, for later: `plan` and `run` look for them in the cache folder.
static int measure(const DoctorFlags& flags) {
  const std::filesystem::path path = flags.machine.empty() ? own_machine_path() : std::filesystem::path(flags.machine);
  if (path.empty())
    throw UsageError(
        "there is no folder for this machine's numbers; found neither XDG_CACHE_HOME nor HOME; name a file with "
        "--machine");
  engine::Machine machine = engine::measure_cpu(kernels::usable_cores().default_threads(), engine::measured_types());
  char host[256] = {};
  machine.name = gethostname(host, sizeof host - 1) == 0 ? printable(host) : "this machine";
  machine.source =
      "measured by sluice doctor on " + today() + ", " + std::string(kernels::isa_name(kernels::chosen_isa()));
  engine::measure_disk(machine, [&](const engine::ReadTest& test) {
    if (!flags.model.empty()) return engine::measure_reads(shards_of(flags.model), test);
    return engine::measure_reads_in_folder(std::filesystem::current_path(), uint64_t{256} << 20, test);
  });
  std::error_code failure;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), failure);
  std::ofstream file(path);
  file << machine_json(machine).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  file.close();
  if (!file)
    throw UsageError("the machine's numbers cannot be written to " + printable(path.string()) +
                     "; name a file that can be with --machine");
  write_stderr("written to " + printable(path.string()) + "\n");
  return kExitOk;
}

static int doctor(const DoctorFlags& flags) {
  if (flags.measures || !flags.machine.empty()) return measure(flags);
  Findings found;
  find_disk(found, flags.model);  // first, because a bad model ends it
  find_cpu(found);
  found.memory = engine::read_available_memory();
  found.lockable = engine::read_lockable_memory();
  found.huge_pages = engine::read_huge_pages();
  found.io_uring = engine::try_io_uring();
  const char* search_path = std::getenv("PATH");
  found.nvcc = engine::find_nvcc(search_path != nullptr ? search_path : "").string();
  if (!found.nvcc.empty()) found.nvcc_version = engine::nvcc_version(found.nvcc);
  found.gpus = engine::read_nvidia_gpus();
  if (flags.json)
    write_stdout(doctor_json(found).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  else
    write_stdout(doctor_text(found));
  return kExitOk;
}

Action prepare_doctor(CLI::App& app) {
  auto flags = std::make_shared<DoctorFlags>();
  add_positional(app, "MODEL", flags->model, "GGUF file, or any shard of one, whose disk is measured");
  add_switch(app, "--json", flags->json, "Print one JSON object");
  add_switch(app, "--measure", flags->measures,
             "Measure what plans are made with (kernels by format, memory, disk) and keep it for `plan` and `run`");
  add_text(app, "--machine", "FILE", flags->machine, "The same, into FILE");
  set_notes(app, kDoctorNotes);
  return [flags] { return doctor(*flags); };
}

}  // namespace sluice::tools
