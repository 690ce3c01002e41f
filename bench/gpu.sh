#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for it, runs every kernel test on it, times each kernel beside its prediction, runs models end
# to end (alone, shared with the CPU, over several GPUs, long prompts and contexts: bench/gpu_models.py), and writes one report.
#
#   bench/gpu.sh [-o REPORT.md] [MODEL.gguf ...]
#
# Without -o the report is build/gpu/report.md. Models: the one that comes with the program, the fixtures of the tests, and those named.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
source "$root/cmake/bootstrap.sh"
build=$root/build/gpu
report=$build/report.md
if [[ ${1:-} == -o ]]; then report=$2; shift 2; fi
models=("$@")

if ! nvidia-smi -L >/dev/null 2>&1; then say "error: no NVIDIA GPU answers here (nvidia-smi -L)"; exit 5; fi
install_packages g++ cmake ninja-build pkg-config libpcre2-dev libcli11-dev nlohmann-json3-dev doctest-dev python3 -- libedit-dev libmimalloc-dev liburing-dev
if ! PATH=$PATH:/usr/local/cuda/bin command -v nvcc >/dev/null; then
  (cd "$root" && cmake --preset release 2>&1 | grep '^-- CUDA: ' >&2)
  exit 1
fi
mkdir -p "$build" "$(dirname -- "$report")"
failed=0
# Runs a step with its output in a log; tells in the report whether it went well.
step() {
  local name=$1 log=$build/$2.log
  shift 2
  say "$name"
  if "$@" >"$log" 2>&1; then printf -- '- %s: done\n' "$name" >>"$report"; else
    failed=1
    { printf -- '- **%s: failed** (%s)\n\n```\n' "$name" "$log"; tail -n 30 "$log"; printf '```\n'; } >>"$report"
  fi
}

{
  printf '# sluice on a GPU\n\n%s, commit %s\n\n```\n' "$(date -u '+%F %T UTC')" "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)"
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.mem,pcie.link.gen.max,pcie.link.width.max --format=csv
  nvcc --version 2>/dev/null | tail -n 2 || /usr/local/cuda/bin/nvcc --version | tail -n 2
  grep -m1 'model name' /proc/cpuinfo
  printf '```\n\n'
} >"$report"

step "configure" configure cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_TESTS=ON
step "build" build cmake --build "$build" --target sluice test_cuda_native time_kernels needle
sluice=$build/tools/sluice
[[ -x $sluice ]] || { say "error: the build failed, see $report"; exit 1; }
step "kernel tests on the GPU" kernels "$build/tests/cuda/test_cuda_native"
if command -v compute-sanitizer >/dev/null; then
  step "kernel tests under compute-sanitizer's memcheck" memcheck compute-sanitizer --error-exitcode 1 "$build/tests/cuda/test_cuda_native"
  step "kernel tests under compute-sanitizer's racecheck" racecheck compute-sanitizer --tool racecheck --error-exitcode 1 "$build/tests/cuda/test_cuda_native"
fi

printf '\n## Kernels\n\n' >>"$report"
time_kernels() { "$build/bench/gpu/time_kernels" >"$build/times.json"; }
predict_kernels() { python3 "$root/bench/gpu_timed.py" "$build/times.json" --build "$build" >"$build/times.md"; }
step "time the kernels" time time_kernels
if [[ -s $build/times.json ]]; then step "predict them" predict predict_kernels; fi
if [[ -s $build/times.md ]]; then { echo; cat "$build/times.md"; } >>"$report"; fi

# Every model against the CPU; those that are more than fixtures shared with it, over several GPUs, and at rising contexts as well.
fixtures=("$root"/models/*.gguf "$root"/tests/data/models/*.gguf)
run_models() {
  local status=0
  python3 "$root/bench/gpu_models.py" "$sluice" --only models "${fixtures[@]}" "${models[@]}" >"$build/models.md" || status=1
  python3 "$root/bench/gpu_models.py" "$sluice" --only shared --only gpus --only contexts --only needles --needle "$build/bench/needle" \
    "$root"/models/*.gguf "${models[@]}" >>"$build/models.md" || status=1
  return $status
}
step "run models" models run_models
cat "$build/models.md" >>"$report"

if [[ $failed != 0 ]]; then printf '\n**Something failed, see above.**\n' >>"$report"; fi
say "The report is $report"
exit "$failed"
