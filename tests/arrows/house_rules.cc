#include "tests/arrows/arrows.h"

namespace sluice::arrows {

// tools, bench, tests -> engine -> {tokenizer, kernels} -> gguf
// Inside the engine: session -> forward -> {store, device} and model -> gguf.
const Rules& house_rules() {
  static const Rules rules{
      .arrows =
          {
              {"gguf/", {"gguf/"}},
              {"tokenizer/", {"tokenizer/", "gguf/"}},
              {"kernels/", {"kernels/", "gguf/"}},

              // What a model is made of, without a thought of how it runs. A weight handle is a value that a device
              // reads.
              {"engine/model/",
               {"engine/model/", "engine/device/linear.h", "engine/error.h", "engine/options.h", "kernels/", "gguf/"}},
              {"engine/device/", {"engine/device/", "engine/error.h", "engine/options.h", "kernels/", "gguf/"}},
              {"engine/store/",
               {"engine/store/", "engine/model/", "engine/device/", "engine/error.h", "engine/options.h", "kernels/",
                "gguf/"}},
              {"engine/forward/",
               {"engine/forward/", "engine/store/", "engine/device/", "engine/model/", "engine/error.h",
                "engine/options.h", "kernels/", "gguf/"}},
              // A plan is computed from the model and the hardware, by the rules by which the store divides its memory and prompts
              // are cut into passes; no pass runs in it.
              {"engine/placement/",
               {"engine/placement/", "engine/model/", "engine/device/", "engine/store/",
                "engine/forward/prefill_cost.h", "engine/forward/streaming_rules.h", "engine/forward/miss_split.h",
                "engine/error.h", "engine/options.h", "kernels/", "gguf/"}},
              // Files made up for measuring, which nothing in the engine knows of.
              {"engine/synthetic/", {"engine/synthetic/", "engine/error.h", "kernels/", "gguf/"}},
              // What routers chose, as values and files; the session records it.
              {"engine/traces/", {"engine/traces/", "engine/error.h", "kernels/"}},
              // The store's table and policies over a modelled clock: a plan and a trace in, numbers out.
              {"engine/simulation/",
               {"engine/simulation/", "engine/traces/", "engine/placement/", "engine/store/",
                "engine/forward/miss_split.h", "engine/error.h", "engine/options.h"}},
              // The C API stands outside of the engine's door.
              {"engine/capi/",
               {"engine/capi/", "engine/engine.h", "engine/error.h", "engine/options.h", "engine/session/sampler.h",
                "tokenizer/", "gguf/", "include/sluice.h"}},
              {"engine/",
               {"engine/engine.h", "engine/error.h", "engine/options.h", "engine/model/", "engine/device/",
                "engine/store/", "engine/forward/", "engine/placement/", "engine/session/", "engine/traces/",
                "tokenizer/", "kernels/", "gguf/"}},

              {"tools/", {"tools/", "engine/", "tokenizer/", "kernels/", "gguf/"}},
              {"bench/", {"bench/", "engine/", "tokenizer/", "kernels/", "gguf/"}},
              // Asks any model what a test asks one.
              {"bench/needle.cc", {"tests/engine/needle.h", "tools/", "engine/", "tokenizer/"}},
              {"bench/expert_stream.cc", {"tests/engine/fake_gpu.h", "tools/", "engine/"}},
              // Counts kernels in the emulation.
              {"bench/gpu/", {"bench/gpu/", "tests/simt/runtime/", "kernels/", "gguf/"}},
              // Runs the engine over the emulation's virtual time.
              {"bench/virtual_time/",
               {"bench/virtual_time/", "tests/simt/runtime/", "tests/simt/cudart/emulated_gpu.h",
                "tools/machine_file.h", "engine/", "kernels/", "gguf/"}},
              {"tests/", {"tests/", "tools/", "engine/", "tokenizer/", "kernels/", "gguf/", "include/sluice.h"}},
              // What a stranger's program has: the installed header, written <sluice.h>.
              {"include/", {}},
              {"examples/", {}},
          },
      .quiet_rooms = {"gguf/", "tokenizer/", "kernels/", "engine/"},
      // <cstdio> itself is welcome: it has snprintf, rename and files.
      .bans =
          {
              {R"(#\s*include\s*<(iostream|print|syncstream)>)", "a library does not print"},
              {R"(\b(cout|cerr|clog|stdout|stderr)\b)", "a library does not print"},
              {R"(\b(v?f?printf|f?puts|f?putc|putchar|perror|syslog)\s*\()", "a library does not print"},
              {R"(\b(exit|_exit|_Exit|quick_exit|abort|terminate|raise)\s*\()",
               "a library does not end the process; throw an error with a sentence for the user"},
              {R"(\bassert\s*\()", "an assertion ends the process; throw, or prove it with static_assert"},
          },
      .exceptions = {},
  };
  return rules;
}

}  // namespace sluice::arrows
